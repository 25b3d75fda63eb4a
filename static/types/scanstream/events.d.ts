/** Server-sent events, read from text as it comes (WHATWG HTML, section 9.2.6). Pure. */
export class EventReader {
    /**
     * Takes a piece of the stream.
     * @param {string} text
     * @returns {{ type: string, data: string }[]} the events that are complete with it; comments are none
     */
    take(text: string): {
        type: string;
        data: string;
    }[];
    #private;
}

"""The store and the queues on NATS JetStream, for several nodes. The room itself imports nothing of nats-py."""

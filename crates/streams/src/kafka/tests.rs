//! The sink against librdkafka's own cluster, which fails in the ways of brokers.

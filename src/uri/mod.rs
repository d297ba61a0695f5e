//! Source URIs: `single://host[:port]` and `ha://zk1[:port],zk2[:port],…`. Pure; no name is looked up here.

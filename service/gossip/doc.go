// Package gossip keeps the logs of feeds, of many topics, and brings them level with those of other agents.
//
// It owns the operations (pure/feed) of each topic that was joined: what this machine appends, and what peers
// have. Two peers first find out in whose feeds they differ, by their whole frontiers or by a sketch of them,
// and then the one that lacks something fetches it in batches; each is verified, and becomes durable as a whole
// or not at all, so that a sync that was broken off goes on from the frontier. Who has news says so at once.
//
// Nothing that a peer says is believed without the author's signature. What is wrong is named (ErrForged, ErrBroken, … of
// pure/feed, and those of this package), the rest goes on. An author that forks is proven to, at the lowest seq that can be
// found; the proof is kept and passed on, and of its operations only those before count, everywhere alike.
//
// It knows neither what payloads mean nor what a table is, and asks its Config who may read, and write, what.
package gossip

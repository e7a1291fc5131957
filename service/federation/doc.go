// Package federation is who we are to other households, and who they are to
// us: our charter and theirs, invitations and the pacts that come of them, the
// table of partners, each machine's head with its sealed state at every
// partner, and the recovery of a household from its phrase.
//
// It is also the gate: every request of the peer protocol is classified here,
// anew each time, so that a machine which a newer charter removed is shut out
// of the connections that it has open, too.
//
// No machine is privileged and no server asked. What a partner says is either
// signed by a key that must have said it (charter, pact, head, admission), or is
// a hint whose falsehood costs a detour (addresses), or is checked against what
// others say (the newest head: recover asks all partners, so that no single one
// can roll a household back).
//
// Its records lie in the Books under "f/" (keys.go), and in the state that
// travels with the head under "state/p/". The rest of the state is the vault's,
// and is copied here without being understood. Sealed pages of partners, and our
// own, are blobs. It keeps no grid root: the calls that sign with it (Found,
// Recover) are given the phrase's entropy and forget it.
package federation

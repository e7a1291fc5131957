// Package accounts is how a storage server knows whether a household has the right contract: the account
// server, which vouches for it, and the two that speak with it, storage servers and customers.
//
// The Server keeps plans, accounts, what each uses at each storage server, and the list of revocations, in
// books of its own. The operator lists the storage servers; an account is for one household, and any machine of that
// gets tokens for it. All is answered from the books: nothing of an account is in memory, so that a million of
// them cost no more to start with than one.
//
// The Holder is the storage server's side: it verifies tokens without asking, asks in the background how
// accounts stand, keeps the last answer and relies on it for its lifetime, and reports what accounts use. The
// Customer keeps the tokens of the own household fresh.
//
// The package moves no bytes and grants nothing: what it says of an account are facts for a policy.
package accounts

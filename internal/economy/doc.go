// Package economy simulates a barter among many households: who gives, who has, and what becomes of those who only
// take. Each ask is answered by the rules of package policy as a household would have them, from facts that are made as SPEC.md §11
// says; the disks, the pieces and the ledger are a model, in which a day is one step.
//
// It shows what the policies come to among many. It does not show that the barter keeps its books, which service/barter's own tests do.
package economy

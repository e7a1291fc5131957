// Package table says what a table is: who may write in it, what row comes of the
// operations on a key, which entries it has in which tree, what a checkpoint of it
// says, and how a question is answered so that a stranger can check the answer.
//
// All of it is a function of the operations that stand, so that whoever has the
// same ones has the same table, byte for byte, whatever the order in which they
// came. There are no rules for who asks: an answer is checked by asking again,
// with the same code, over the nodes and rows that it brought.
//
// The room keeps nothing: service/table has the trees, service/gossip the
// operations. The formats are docs/SPEC.md, section 15.
package table

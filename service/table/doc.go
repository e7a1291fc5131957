// Package table keeps tables: it makes their trees of the operations that stand,
// writes checkpoints down, and answers questions about them with a proof, asks others
// and checks what they answer.
//
// The operations are somebody else's to keep and to bring (Config.Feeds): this room
// reads them, and what it has is a function of them, so that all of it can be made again. One
// writer a table takes what has come, some thousand operations at a time, and writes the trees,
// and the checkpoint that they come to, in one change; whoever asks reads a snapshot meanwhile.
//
// What a table is, which row comes of which operations, and how a query runs is pure/table's.
package table

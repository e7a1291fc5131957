package wire

// Received makes the caller's error of an answer.
var Received = received

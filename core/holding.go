package core

// Piece is one erasure-coded piece of a segment, by its score.
type Piece struct {
	Score Score `json:"score"`
	// Size is its length in bytes.
	Size int64 `json:"size"`
}

// Holding says that a machine of a partner has promised to keep a piece.
type Holding struct {
	Score Score
	// Grid is the holder's household, Agent the machine.
	Grid, Agent DID
	// Until is when the lease ends, in Unix seconds.
	Until int64
}

// PieceState is what was found when a holder was asked for proof of a piece.
type PieceState string

// The states of a piece at a holder.
const (
	PieceOK      PieceState = "ok"      // proven just now
	PieceMissing PieceState = "missing" // the holder says it has it not, twice
	PieceCorrupt PieceState = "corrupt" // it has rotted, or the proof was wrong, twice
	PieceAway    PieceState = "away"    // the holder, or its disk, could not be reached
	PieceGone    PieceState = "gone"    // the holder's household no longer lists that machine
)

// Finding is the outcome of one challenge.
type Finding struct {
	Holding
	State PieceState
	// Err says more where State is not PieceOK.
	Err error
}

package table

import (
	"errors"
	"fmt"
)

// The ways in which an answer, or a writer, is caught.
var (
	// ErrForged says that a signature is not its signer's.
	ErrForged = errors.New("forged signature")
	// ErrLeave says that an author has no leave to write.
	ErrLeave = errors.New("no leave to write here")
	// ErrQuota says that an author has written more than it may.
	ErrQuota = errors.New("over its quota")
	// ErrVoid says that an operation changes nothing.
	ErrVoid = errors.New("void operation")
	// ErrOtherTable says that something is of another table.
	ErrOtherTable = errors.New("of another table")
	// ErrOtherQuery says that an answer is to another question than was asked.
	ErrOtherQuery = errors.New("answer to another query")
	// ErrRoot says that a proof is of another root than the checkpoint's.
	ErrRoot = errors.New("proof of another root")
	// ErrRow says that a row is not what its operations make, or not one of the answer.
	ErrRow = errors.New("wrong row")
	// ErrPayload says that bytes are not those that were signed for.
	ErrPayload = errors.New("not what was signed for")
	// ErrOld says that an answer is from before what its maker has attested already.
	ErrOld = errors.New("answer from an old root")
	// ErrTooMany says that a question would read more than is read for one.
	ErrTooMany = errors.New("too much to read")
)

func wrongRow(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRow, fmt.Sprintf(format, args...))
}

func void(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrVoid, fmt.Sprintf(format, args...))
}

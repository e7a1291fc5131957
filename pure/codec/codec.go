// Package codec is the one encoding of grange: core deterministic CBOR
// (RFC 8949 §4.2.1) with limits, so that a value has one encoding, and a
// signature or a score one meaning.
//
// All that comes in is hostile. Before a Go value is touched, every byte is read
// once: shortest heads, definite lengths, rising text keys, valid UTF-8, no
// floats, tags or undefined, bounded nesting and a bounded number of items. Then
// what was decoded is encoded again and compared with what came, so that nothing
// is half understood: neither a byte array of the wrong length nor an optional
// field that is present and empty.
//
// It does not know any format: which fields there are, and what values they may
// have, is said and checked by the rooms that own them. It is the only importer
// of fxamacker/cbor. Fields are named by json tags.
package codec

import (
	"bytes"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"

	"github.com/grange-grid/grange/core"
)

// NestingMax is how many arrays and maps may stand one in the other.
const NestingMax = 16

// Version is the only value that a structure's "v" may have.
const Version = 1

// The modes never change after the package is loaded.
var (
	encoding = encodingMode()
	strict   = decodingMode(cbor.ExtraDecErrorUnknownField)
	lenient  = decodingMode(cbor.ExtraDecErrorNone)
)

func encodingMode() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty // nil and empty are one value, so they are one encoding
	o.ByteArray = cbor.ByteArrayToByteSlice
	o.TagsMd = cbor.TagsForbidden
	m, err := o.EncMode()
	if err != nil {
		panic(err) // the options are constants: the first test would see it
	}
	return m
}

func decodingMode(extra cbor.ExtraDecErrorCond) cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   NestingMax,
		MaxArrayElements:  math.MaxInt32, // the scan has bounded the items, by the size
		MaxMapPairs:       math.MaxInt32,
		ExtraReturnErrors: extra,
		// Otherwise "Epoch" would be taken for "epoch".
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		UTF8:              cbor.UTF8RejectInvalid,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		BignumTag:         cbor.BignumTagForbidden,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// Marshal returns the deterministic encoding of v. A byte slice, a byte array and a
// type with MarshalBinary are byte strings; a nil slice or map is an empty one.
// It fails where v holds what has no encoding here: floats, integers beyond
// 64 bits, text that is not UTF-8, map keys that are not text, more than NestingMax levels.
func Marshal(v any) ([]byte, error) {
	b, err := encoding.Marshal(v)
	if err == nil {
		err = scan(b)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal decodes into v what is signed or stored: data must be exactly what
// Marshal makes of the result, and holds no field that v does not name. A "v"
// in the outermost map that is not Version is core.ErrVersion; data longer than
// sizeMax bytes is core.ErrTooLarge; any other fault is core.ErrInvalid.
// v points to a zero value; after an error its contents mean nothing.
func Unmarshal(data []byte, v any, sizeMax int) error {
	if err := admit(data, sizeMax); err != nil {
		return err
	}
	if n, ok := versionOf(data); ok && n != Version {
		return fmt.Errorf("%w %d, want %d", core.ErrVersion, n, Version)
	}
	again, err := decode(strict, data, v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("%w: not the one encoding of its value", core.ErrInvalid)
	}
	return nil
}

// UnmarshalMessage decodes a request or an answer into v: as Unmarshal, but fields
// that v does not name are ignored, whatever their values (which are within the
// limits all the same), and fields that are missing stay zero. What is
// understood is still exactly what was sent. Errors: core.ErrTooLarge, core.ErrInvalid.
func UnmarshalMessage(data []byte, v any, sizeMax int) error {
	if err := admit(data, sizeMax); err != nil {
		return err
	}
	again, err := decode(lenient, data, v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) && !covers(newScanner(data), newScanner(again)) {
		return fmt.Errorf("%w: a field's value does not fit its type", core.ErrInvalid)
	}
	return nil
}

func admit(data []byte, sizeMax int) error {
	if len(data) > sizeMax {
		return fmt.Errorf("%w: %d bytes, at most %d", core.ErrTooLarge, len(data), sizeMax)
	}
	return scan(data)
}

// decode returns the encoding of what it decoded.
func decode(mode cbor.DecMode, data []byte, v any) ([]byte, error) {
	if err := mode.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	again, err := encoding.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	return again, nil
}

package seal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// Whatever the bytes, opening gives back exactly what was sealed, or ErrCorrupt.

func FuzzOpenChunk(f *testing.F) {
	secret, packed := bytesOf("secret"), []byte("packed bytes")
	sealed, score, key := Chunk(secret, packed, nil)
	f.Add(sealed)
	f.Add(sealed[:Overhead])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := OpenChunk(key, score, in, nil)
		if bytes.Equal(in, sealed) != (err == nil) || err == nil && !bytes.Equal(got, packed) {
			t.Fatalf("%x opened to %x, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzOpenSmall(f *testing.F) {
	secret, salt := bytesOf("secret"), bytesOf("salt")
	box := small(ContextName, secret, salt, []byte("name"))
	f.Add(box)
	f.Add(box[:SmallOverhead])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := OpenSmall(ContextName, secret, in)
		if bytes.Equal(in, box) != (err == nil) || err == nil && string(got) != "name" {
			t.Fatalf("%x opened to %x, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzOpenState(f *testing.F) {
	secret, salt := bytesOf("secret"), bytesOf("salt")
	box := State(secret, salt, []byte("tree"))
	f.Add(box)
	f.Add(box[:Overhead])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := OpenState(secret, salt, in)
		if bytes.Equal(in, box) != (err == nil) || err == nil && string(got) != "tree" {
			t.Fatalf("%x opened to %x, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzOpenBox(f *testing.F) {
	// Making a box draws randomness, and each fuzzing process needs the same one.
	v := golden.Read[vectors](f, "seal")
	made := v.Boxes[len(v.Boxes)-1]
	key, err := NewPrivateKey([32]byte(made.Seed))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(made.Box))
	f.Add([]byte(made.Box[:BoxOverhead]))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := key.Open(made.Info, in)
		if bytes.Equal(in, made.Box) != (err == nil) || err == nil && !bytes.Equal(got, made.Text) {
			t.Fatalf("%x opened to %q, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// To meets a public key that a stranger's charter lists.
func FuzzTo(f *testing.F) {
	key, err := NewPrivateKey(*bytesOf("seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.Public())
	f.Add(make([]byte, PublicSize))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, public []byte) {
		box, err := To(public, nil, []byte("text"))
		if err == nil && len(box) != BoxOverhead+len("text") || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("%d bytes, %v", len(box), err)
		}
	})
}

func FuzzKeyUnmarshalBinary(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		var key Key
		if err := key.UnmarshalBinary(in); (err == nil) != (len(in) == 32) || err == nil && !bytes.Equal(key[:], in) {
			t.Fatalf("%d bytes: %v", len(in), err)
		}
	})
}

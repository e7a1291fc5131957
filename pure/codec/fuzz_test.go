package codec_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, v := range []any{
		sample{},
		sample{V: 1, Bytes: []byte{1}, Text: "t", Int: -5, List: []inner{{Scores: []core.Score{{1}}, N: 300}}, Table: map[string]int64{"a": 1}, Maybe: 1, Ptr: &inner{}},
		inner{N: 70_000},
	} {
		f.Add(mustMarshal(f, v))
	}
	for _, c := range refusedCases {
		f.Add(unhex(f, c[1]))
	}
}

// FuzzUnmarshal: what is accepted has one encoding, and it is what came.
func FuzzUnmarshal(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		if codec.Unmarshal(data, &s, 1<<16) == nil {
			if again := mustMarshal(t, s); !bytes.Equal(again, data) {
				t.Errorf("%x is read, and written as %x", data, again)
			}
			var message sample
			if err := codec.UnmarshalMessage(data, &message, 1<<16); err != nil || !reflect.DeepEqual(message, s) {
				t.Errorf("as a message it is %+v (%v), not %+v", message, err, s)
			}
		}
		var v any
		if codec.Unmarshal(data, &v, 1<<16) == nil {
			if again := mustMarshal(t, v); !bytes.Equal(again, data) {
				t.Errorf("%x is read as anything, and written as %x", data, again)
			}
		}
	})
}

// FuzzUnmarshalMessage: what is understood of a message reads the same when it is sent on.
func FuzzUnmarshalMessage(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, again sample
		if codec.UnmarshalMessage(data, &s, 1<<16) != nil {
			return
		}
		b := mustMarshal(t, s)
		if err := codec.Unmarshal(b, &again, len(b)); err != nil && s.V == codec.Version {
			t.Errorf("%x is read, and sent on as %x: %v", data, b, err)
		}
	})
}

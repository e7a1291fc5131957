package grange

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Path is a path, or a part of one: bytes, which need not be UTF-8. In JSON it is a
// string or, where that would alter it, {"base64": "…"}.
type Path string

type pathBytes struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON returns a string or an object.
func (p Path) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(p)) {
		return json.Marshal(string(p))
	}
	return json.Marshal(pathBytes{[]byte(p)})
}

// UnmarshalJSON reads a string or an object.
func (p *Path) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var raw pathBytes
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if len(raw.Base64) == 0 {
			return errors.New(`a path as an object has "base64"`)
		}
		*p = Path(raw.Base64)
		return nil
	}
	return json.Unmarshal(b, (*string)(p))
}

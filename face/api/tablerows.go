package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// TableBodyMax bounds the body of POST /v1/table-rows in bytes; that of POST /v1/table-verify is as long as an answer in base64 needs.
const (
	TableBodyMax  = 8 << 20
	verifyBodyMax = grange.TableAnswerSizeMax/3*4 + bodySizeMax
)

// PutRowsRequest is the body of POST /v1/table-rows, with at most grange.TablePutsMax rows.
type PutRowsRequest struct {
	Name string   `json:"name"`
	Rows []PutRow `json:"rows"`
}

// PutRow is one of them; Key "" is one that is made.
type PutRow struct {
	Key      string          `json:"key,omitempty"`
	Document json.RawMessage `json:"document"`
}

// RowKeys is the answer to POST /v1/table-rows, and, with the table's name, the body of POST /v1/table-delete.
type RowKeys struct {
	Name string   `json:"name,omitempty"`
	Keys []string `json:"keys"`
}

// RowRequest is the body of POST /v1/table-erase.
type RowRequest struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// Erased is the answer to it: how many writes are gone for good, and how many by others it may not erase.
type Erased struct {
	Erased int `json:"erased"`
	Left   int `json:"left"`
}

// TableAnswer is the answer to GET /v1/table-query.
type TableAnswer struct {
	grange.TableAnswer
	// Proof is what VerifyTableAnswer checks, if it was asked for.
	Proof []byte `json:"proof,omitempty"`
}

// VerifyTableRequest is the body of POST /v1/table-verify.
type VerifyTableRequest struct {
	Proof []byte     `json:"proof"`
	Trust []core.DID `json:"trust,omitempty"`
}

// Writes is the answer to GET /v1/table-history.
type Writes struct {
	Writes []grange.TableWrite `json:"writes"`
}

func (o *owner) putRows(r *http.Request) answer {
	var in PutRowsRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	rows := make([]grange.TableRow, len(in.Rows))
	for i, row := range in.Rows {
		rows[i] = grange.TableRow{Key: row.Key, Document: row.Document}
	}
	keys, err := o.agent.PutRows(r.Context(), in.Name, rows)
	return tableValue(RowKeys{Keys: keys}, err)
}

func (o *owner) deleteRows(r *http.Request) answer {
	var in RowKeys
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(RowKeys{Keys: in.Keys}, o.agent.DeleteRows(r.Context(), in.Name, in.Keys...))
}

func (o *owner) eraseRow(r *http.Request) answer {
	var in RowRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	erased, left, err := o.agent.EraseRow(r.Context(), in.Name, in.Key)
	if errors.Is(err, fs.ErrNotExist) && left > 0 {
		err = &Error{Code: CodeRefused, Message: message(err), Hint: "who has written it erases it, or the table's owner"}
	}
	return tableValue(Erased{erased, left}, err)
}

func (o *owner) queryTable(r *http.Request) answer {
	q := grange.TableQuery{Query: param(r, "query"), From: param(r, "from")}
	var err error
	if q.After, err = base64.StdEncoding.DecodeString(param(r, "after")); err != nil {
		return failure(nil, invalid("after is what an answer said, in base64", "in a query, '+' is written %2B and '/' %2F"))
	}
	if len(q.After) == 0 {
		q.After = nil
	}
	if q.Trust, err = dids(param(r, "trust")); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.QueryTable(r.Context(), param(r, "name"), q)
	if err != nil {
		return failure(nil, TableFailure(err, out.Suggest))
	}
	full := TableAnswer{TableAnswer: out}
	if param(r, "proof") != "" {
		full.Proof = out.Proof
	}
	return value(full, nil)
}

// dids reads DIDs with commas between; nil for none.
func dids(text string) (out []core.DID, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		did, err := core.ParseDID(part)
		if err != nil {
			return nil, invalid("trust: "+message(err), "machines' DIDs, with commas between")
		}
		out = append(out, did)
	}
	return out, nil
}

func (o *owner) verifyTable(r *http.Request) answer {
	var in VerifyTableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(grange.VerifyTableAnswer(in.Proof, in.Trust))
}

func (o *owner) tableHistory(r *http.Request) answer {
	out := Writes{[]grange.TableWrite{}}
	for w, err := range o.agent.TableHistory(r.Context(), param(r, "name"), param(r, "key")) {
		if err != nil {
			return failure(nil, TableFailure(err, ""))
		}
		out.Writes = append(out.Writes, w)
	}
	return value(out, nil)
}

// watchTable streams what changes, whatever the request accepts, until it is closed.
func (o *owner) watchTable(r *http.Request) answer {
	return func(w http.ResponseWriter) {
		s := newStream(w)
		for c, err := range o.agent.WatchTable(r.Context(), param(r, "name"), param(r, "query")) {
			l := line{Change: &c}
			if err != nil {
				l = line{Error: ErrorOf(TableFailure(err, ""))}
			}
			if s.send(l) != nil || err != nil {
				return
			}
		}
	}
}

// PutRows writes rows, and returns their keys.
func (c *Client) PutRows(ctx context.Context, in PutRowsRequest) ([]string, error) {
	var out RowKeys
	err := c.post(ctx, "table-rows", in, &out)
	return out.Keys, err
}

// DeleteRows deletes rows.
func (c *Client) DeleteRows(ctx context.Context, name string, keys []string) error {
	var out RowKeys
	return c.post(ctx, "table-delete", RowKeys{name, keys}, &out)
}

// EraseRow deletes for good what was written to a key.
func (c *Client) EraseRow(ctx context.Context, name, key string) (out Erased, err error) {
	return out, c.post(ctx, "table-erase", RowRequest{name, key}, &out)
}

// QueryTable asks a table; with proof the answer brings what can be saved.
func (c *Client) QueryTable(ctx context.Context, name string, q grange.TableQuery, proof bool) (grange.TableAnswer, error) {
	var trust []string
	for _, did := range q.Trust {
		trust = append(trust, did.String())
	}
	in := url.Values{
		"name": {name}, "query": {q.Query}, "from": {q.From}, "trust": {strings.Join(trust, ",")}, "after": {base64.StdEncoding.EncodeToString(q.After)},
	}
	if proof {
		in.Set("proof", "1")
	}
	var out TableAnswer
	err := c.get(ctx, "table-query", in, &out)
	out.TableAnswer.Proof = out.Proof
	for i := range out.Rows {
		out.Rows[i].Document = compact(out.Rows[i].Document)
	}
	return out.TableAnswer, err
}

// TableHistory returns who has written what to a row, the newest first.
func (c *Client) TableHistory(ctx context.Context, name, key string) ([]grange.TableWrite, error) {
	var out Writes
	err := c.get(ctx, "table-history", url.Values{"name": {name}, "key": {key}}, &out)
	for i := range out.Writes {
		out.Writes[i].Document = compact(out.Writes[i].Document)
	}
	return out.Writes, err
}

// compact takes back the indentation of an answer.
func compact(document json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, document) != nil {
		return document // there is none
	}
	return out.Bytes()
}

// WatchTable yields the rows of a query that change from now on, until ctx ends or the agent does.
func (c *Client) WatchTable(ctx context.Context, name, query string) iter.Seq2[grange.TableChange, error] {
	return func(yield func(grange.TableChange, error) bool) {
		req, err := request(ctx, http.MethodGet, "table-watch", url.Values{"name": {name}, "query": {query}}, nil)
		if err == nil {
			err = c.stream(ctx, req, func(l incoming) error {
				if l.Change != nil && !yield(*l.Change, nil) {
					return errEnough
				}
				return nil
			}, nil)
		}
		if !errors.Is(err, errEnough) {
			yield(grange.TableChange{}, err)
		}
	}
}

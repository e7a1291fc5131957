package table

import (
	"testing"

	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// A feed stands still where a payload is withheld, until an erase comes that says why there is none; erases and definitions cannot be erased.
func TestWithheldUntilErased(t *testing.T) {
	anna := world(t, 1)[0]
	bo := identity.KeyOf([32]byte{77})
	d := table.Definition{}
	d.GrantWrite(table.Grant{Who: bo.DID()})
	id := create(t, anna, d)
	append := func(as identity.Key, k feed.Kind, payload []byte, err error) {
		t.Helper()
		if err == nil {
			_, err = anna.logs.Append(t.Context(), id, as, []Draft{{Kind: k, Payload: payload}})
		}
		if err != nil {
			t.Fatal(err)
		}
		anna.Landed(id, as.DID())
	}
	rows := func(want uint64, stuck int) {
		t.Helper()
		if err := anna.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		info, err := anna.Info(id)
		if err != nil || info.Checkpoint.Rows.Count != want || len(info.Stuck) != stuck {
			t.Fatalf("%d rows, %v stuck, %v", info.Checkpoint.Rows.Count, info.Stuck, err)
		}
	}
	put := func(key string) {
		t.Helper()
		payload, err := table.PutPayload([]byte(key), nil, doc(t, map[string]any{}))
		append(bo, feed.Put, payload, err)
	}
	put("one")
	put("two")
	if err := anna.logs.Drop(id, []table.Target{{Author: bo.DID(), Seq: 1}}); err != nil {
		t.Fatal(err)
	}
	rows(0, 1)
	payload, err := table.ErasePayload([]table.Target{{Author: bo.DID(), Seq: 1}})
	append(anna.key, feed.Erase, payload, err)
	rows(1, 0)

	// Bo erases his second; Anna erases that erase, and the definition, in vain.
	payload, err = table.ErasePayload([]table.Target{{Author: bo.DID(), Seq: 2}})
	append(bo, feed.Erase, payload, err)
	rows(0, 0)
	targets := []table.Target{{Author: bo.DID(), Seq: 3}, {Author: id, Seq: 1}}
	if targets[1].Less(targets[0]) {
		targets[0], targets[1] = targets[1], targets[0]
	}
	payload, err = table.ErasePayload(targets)
	append(anna.key, feed.Erase, payload, err)
	rows(0, 0)
	for _, at := range targets {
		if l, err := anna.logs.Get(id, at.Author, at.Seq); err != nil || l.Gone {
			t.Errorf("operation %d of %s is gone, %v", at.Seq, at.Author.Short(), err)
		}
	}
	put("three")
	rows(1, 0)
}

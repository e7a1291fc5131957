package main

import (
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// What speaks against a partner is said in so many words.
func TestLedgerSaysWhatIsWrong(t *testing.T) {
	a, out, _, _ := testApp()
	a.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	at := func(days int) time.Time { return time.Unix(1_800_000_000-int64(days)*86_400, 0) }
	text := func(days int) string { return moment(at(days), a.now()) }
	a.ledger(grange.Ledger{
		Name: "bo\x1b", Gives: 10e9, Has: 3e9, Missing: 2e9,
		Gave: []grange.LedgerLine{{ByteHours: 48e9, Receipts: 2, Signed: 24e9, Until: at(1), Pending: 24e9, Waiting: true}, {Proven: at(5)}},
		Had: []grange.LedgerLine{
			{ByteHours: 24e9, Receipts: 7, Signed: 24e9, Until: at(2), Differs: true, Other: 48e9, Parted: 3, PartedAt: at(9), Forged: true},
			{Forged: true, Proven: at(3)},
			{Proven: at(4)},
		},
		Uncounted: []grange.UncountedLease{{From: at(9), Until: at(-170), Pieces: 20, Bytes: 5e6}},
		Contradictions: []grange.Contradiction{
			{Resource: core.Storage, Seq: 4, Kept: grange.SignedReceipt{Total: 24e9, Until: at(6)}, Other: grange.SignedReceipt{Total: 48e6, Until: at(7)}},
			{Resource: "potatoes", Seq: 5, Kept: grange.SignedReceipt{Total: 3, Until: at(6)}, Other: grange.SignedReceipt{Total: 4, Until: at(6)}},
		},
	})
	want := `bo? keeps 3 GB for you, you 0 B for bo?; you could have 7 GB more.
  bo?  [#####-------------]  3 GB of 10 GB
  you  [------------------]  0 B of 0 B
Had of bo? so far: 1 GB for a day; 7 receipts up to ` + text(2) + `.
The two do not agree: bo? counts 2 GB for a day, where the receipt up to ` + text(2) + ` says 1 GB for a day. They have not agreed since receipt 3, up to ` + text(9) + `.
Given to bo? so far: 2 GB for a day; 2 receipts up to ` + text(1) + `; 1 GB for a day not signed for yet; the last receipt is not known to have arrived.
Last proof that bo? has yours: ` + text(3) + `.
Last proof that you have bo?'s: ` + text(5) + `.
Not counted here: 20 pieces, 5 MB, by a lease of ` + text(9) + ` until ` + text(-170) + `.
bo? takes no receipt, and shows as your last one that this machine has never signed.
bo? has signed two receipts with the number 4: one says 1 GB for a day up to ` + text(6) + `, the other 2 MB for a day up to ` + text(7) + `. Both are kept: see --json.
bo? has signed two receipts with the number 5: one says 3 potatoes up to ` + text(6) + `, the other 4 potatoes up to ` + text(6) + `. Both are kept: see --json.
2 GB of what bo? kept for you counts as lost; less of it each day, for 30 days.
`
	if out.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
}

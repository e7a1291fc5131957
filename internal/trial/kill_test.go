//go:build unix

package trial

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// blow is a kill -9 at a random moment.
type blow struct {
	after int           // lines of progress
	delay time.Duration // from then on
}

const delayMax = 50 * time.Millisecond

// aim chooses a moment. Short delays are the likelier ones, because commands are short.
func aim(rng *rand.Rand, lines int) blow {
	f := rng.Float64()
	return blow{rng.IntN(lines + 1), time.Duration(f * f * f * float64(delayMax))}
}

// strike kills something while a command is under way, and returns what the command
// came to. It tells whether the command still ran.
func (b blow) strike(c *call, kill func()) (r result, hit bool) {
	for range b.after {
		if _, more := <-c.lines; !more {
			break
		}
	}
	time.Sleep(b.delay) // the random moment itself
	hit = !c.ended()
	kill()
	return c.wait(), hit
}

// tally fails if no blow has fallen while there was something to break.
type tally struct{ hits, all int }

func (n *tally) count(hit bool) {
	n.all++
	if hit {
		n.hits++
	}
}

func (n *tally) report(t *testing.T) {
	t.Helper()
	t.Logf("%d of %d blows fell while the command ran", n.hits, n.all)
	if n.hits == 0 {
		t.Error("no blow fell while the command ran: nothing was tried")
	}
}

// acknowledged are the trees that put has answered for, by version.
type acknowledged struct {
	numbers []int
	trees   []string
}

func (a *acknowledged) add(n int, tree string) {
	a.numbers, a.trees = append(a.numbers, n), append(a.trees, tree)
}

// restorable fails unless each version comes back: those that were acknowledged, and those
// that came to be without, which hold what was being put then.
func (a *acknowledged) restorable(h *house) {
	h.t.Helper()
	var versions []version
	h.value(&versions, 0, "ls", "tree", "--versions")
	listed := map[int]bool{}
	for _, v := range versions {
		listed[v.Number] = true
		for i, n := range a.numbers {
			if v.Number <= n {
				h.restores("tree", a.trees[i], "--version", fmt.Sprint(v.Number))
				break
			}
		}
	}
	for _, n := range a.numbers {
		if !listed[n] {
			h.t.Errorf("version %d was acknowledged, and is not there", n)
		}
	}
}

// siege is a village in which an owner puts a tree that grows, while somebody is killed.
type siege struct {
	rng          *rand.Rand
	v            []*house
	anna, victim *house
	tree         string
	acks         acknowledged
	hits         tally
}

// besiege puts the tree for the first time. who is killed is the owner or a holder.
func besiege(t *testing.T, who string) *siege {
	t.Helper()
	v := village(t, "anna", "bo", "cleo")
	s := &siege{rng: dice(t), v: v, anna: v[0], victim: v[0], tree: filepath.Join(filepath.Dir(v[0].dir), "tree")}
	if who == "holder" {
		s.victim = v[1]
	}
	plant(t, s.rng, s.tree)
	s.put()
	return s
}

func (s *siege) grow() {
	s.anna.t.Helper()
	next := fmt.Sprint(s.tree, len(s.acks.numbers))
	grow(s.anna.t, s.rng, s.tree, next)
	s.tree = next
}

// put puts the tree, which is acknowledged.
func (s *siege) put() {
	s.anna.t.Helper()
	s.acks.add(s.anna.put(0, s.tree, "--name", "tree").Number, s.tree)
}

func TestPutIsKilled(t *testing.T) {
	for _, who := range []string{"owner", "holder"} {
		t.Run(who, func(t *testing.T) {
			s := besiege(t, who)
			for range points(t) {
				s.grow()
				r, hit := aim(s.rng, 8).strike(s.anna.launch("put", s.tree, "--name", "tree"), s.victim.kill)
				s.hits.count(hit)
				if r.code == 0 {
					s.acks.add(r.version(t).Number, s.tree)
				}
				s.victim.start()
				s.put()
			}
			s.hits.report(t)
			s.acks.restorable(s.anna)
			s.anna.healthy()
			agree(s.anna, s.v[1])
			agree(s.anna, s.v[2])
		})
	}
}

func TestMendIsKilled(t *testing.T) {
	for _, who := range []string{"owner", "holder"} {
		t.Run(who, func(t *testing.T) {
			rng := dice(t)
			v := village(t, "anna", "bo", "cleo", "dan")
			anna := v[0]
			tree := filepath.Join(filepath.Dir(anna.dir), "tree")
			plant(t, rng, tree)
			anna.put(0, tree, "--name", "tree")
			hits := tally{}
			for i := range points(t) {
				away, victim := v[1+i%3], anna
				if who == "holder" {
					victim = v[1+(i+1)%3]
				}
				away.kill()
				_, hit := aim(rng, 6).strike(anna.launch("check", "--mend", "--now"), victim.kill)
				hits.count(hit)
				victim.start()
				var c checked
				anna.value(&c, 0, "check", "--mend", "--now")
				if m := c.Mended; m == nil || m.Whole != m.Segments || m.Unreadable > 0 {
					t.Fatalf("point %d: mended %+v", i, m)
				}
				if i%4 == 0 {
					anna.restores("tree", tree)
				}
				away.start()
			}
			hits.report(t)
			anna.restores("tree", tree)
			anna.healthy()
			for _, h := range v[1:] {
				agree(anna, h)
			}
		})
	}
}

func TestAcceptIsKilled(t *testing.T) {
	for _, who := range []string{"acceptor", "acceptor alone", "inviter"} {
		t.Run(who, func(t *testing.T) {
			rng := dice(t)
			root := room(t)
			anna := found(t, root, "anna")
			anna.start()
			hits := tally{}
			var friends []*house
			for i := range points(t) {
				bo := found(t, root, fmt.Sprintf("bo%d", i))
				code := anna.invite("--give", "20MB", "--want", "30MB")
				b := aim(rng, 0)
				if who == "acceptor alone" {
					// No agent runs: the command itself is the agent that dies.
					c := bo.launch("accept", "--yes", code)
					_, hit := b.strike(c, func() { _ = c.cmd.Process.Kill() })
					hits.count(hit)
					bo.must(0, "accept", "--yes", code)
					bo.start()
				} else {
					bo.start()
					victim := bo
					if who == "inviter" {
						victim = anna
					}
					_, hit := b.strike(bo.launch("accept", "--yes", code), victim.kill)
					hits.count(hit)
					victim.start()
					bo.must(0, "accept", "--yes", code)
				}
				agreeExactly(anna, bo)
				if p := bo.pactWith("anna"); p.Gives != 20_000_000 || p.Given != 30_000_000 {
					t.Fatalf("point %d: %+v", i, p)
				}
				friends = append(friends, bo)
				bo.kill() // so that few run at once
			}
			hits.report(t)
			if n := len(anna.pacts()); n != len(friends) {
				t.Errorf("anna has %d pacts with %d friends", n, len(friends))
			}
			for _, bo := range friends[max(0, len(friends)-3):] {
				bo.start()
			}
			tree := filepath.Join(root, "tree")
			plant(t, rng, tree)
			anna.put(0, tree, "--name", "tree")
			anna.restores("tree", tree)
			for _, bo := range friends[max(0, len(friends)-3):] {
				agreeExactly(anna, bo)
			}
		})
	}
}

func TestRecoverIsKilled(t *testing.T) {
	for _, who := range []string{"owner", "holder"} {
		t.Run(who, func(t *testing.T) {
			rng := dice(t)
			v := village(t, "anna", "bo", "cleo")
			anna, root := v[0], filepath.Dir(v[0].dir)
			tree := filepath.Join(root, "tree")
			plant(t, rng, tree)
			trees, hits := map[string]string{}, tally{}
			for i := range points(t) {
				// Stored by the machine that is lost next.
				name := fmt.Sprintf("tree%d", i)
				next := filepath.Join(root, name)
				grow(t, rng, tree, next)
				tree, trees[name] = next, next
				anna.put(0, tree)

				anna.kill()
				ok(t, os.RemoveAll(anna.dir))
				anna.dir = filepath.Join(root, fmt.Sprintf("anna%d", i))
				from := v[1+i%2]
				again := []string{"recover", "--phrase-file", anna.words, "--from", from.addr}
				c := anna.launch(again...)
				b := aim(rng, 8)
				if who == "holder" {
					victim := v[1+rng.IntN(2)]
					_, hit := b.strike(c, victim.kill)
					hits.count(hit)
					victim.start()
				} else {
					_, hit := b.strike(c, func() { _ = c.cmd.Process.Kill() })
					hits.count(hit)
				}
				var rec struct{ Asked, Agree int }
				if r := anna.run(again...); r.code != 0 {
					// One that had ended well is not begun again.
					if e := anna.complaint(r); e.Code != "exists" && e.Code != "done" {
						t.Fatalf("point %d: %v", i, r)
					}
				} else if ok(t, json.Unmarshal(r.out, &rec)); rec.Agree != rec.Asked || (rec.Asked != 2 && rec.Asked != 0) {
					t.Fatalf("point %d: %d of %d partners agree\n%v", i, rec.Agree, rec.Asked, r)
				}
				anna.start()
				anna.restores(name, tree)
			}
			hits.report(t)
			for name, tree := range trees {
				anna.restores(name, tree)
			}
			anna.healthy()
			agreeExactly(anna, v[1])
			agreeExactly(anna, v[2])
		})
	}
}

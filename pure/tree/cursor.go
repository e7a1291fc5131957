package tree

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// cursor stands at an entry of one level. What it goes through is looked at, and so proven.
type cursor struct {
	src   Source
	level int
	path  []step // from the root down
}

// step is an entry of a node on a cursor's way; hi is where the node ends.
type step struct {
	node *Node
	i    int
	hi   []byte
}

func (s *step) entry() (Entry, error) { return s.node.entry(s.i) }

// newCursor stands nowhere yet.
func newCursor(src Source, m Map, level int) (*cursor, error) {
	c := &cursor{src: src, level: level}
	if m.Root.Level < level || m.Root.Level > LevelMax {
		return nil, fmt.Errorf("root of level %d: %w", m.Root.Level, core.ErrInvalid)
	}
	return c, c.enter(m.Root)
}

// enter adds a node to the way.
func (c *cursor) enter(ref Ref) error {
	n, err := c.src.Node(ref)
	if err != nil {
		return err
	}
	if n.Level != ref.Level {
		return fmt.Errorf("node of level %d where one of level %d belongs: %w", n.Level, ref.Level, core.ErrInvalid)
	}
	c.path = append(c.path, step{node: n, hi: ref.Hi})
	return nil
}

// here is the last step.
func (c *cursor) here() *step { return &c.path[len(c.path)-1] }

func (c *cursor) entry() (Entry, error) { return c.here().entry() }

// below names the node to which the last step's entry leads.
func (c *cursor) below() (Ref, error) {
	s := c.here()
	e, err := s.entry()
	if err != nil {
		return Ref{}, err
	}
	hi := s.hi
	if s.i+1 < s.node.Len() {
		if hi = nil; s.node.has(s.i + 1) {
			hi = s.node.key(s.i + 1)
		}
	}
	return Ref{Level: s.node.Level - 1, Hash: e.Hash, Count: e.Count, Lo: e.Key, Hi: hi}, nil
}

// down goes down to the level, in each node to the entry that pick chooses.
func (c *cursor) down(pick func(*Node) int) error {
	for {
		s := c.here()
		if s.i = pick(s.node); s.i < 0 || s.i >= s.node.Len() {
			return fmt.Errorf("node of level %d: %w", s.node.Level, ErrNotProven)
		}
		if s.node.Level == c.level {
			_, err := s.entry()
			return err
		}
		ref, err := c.below()
		if err != nil {
			return err
		}
		if err := c.enter(ref); err != nil {
			return err
		}
	}
}

// seek goes to the last entry that is not above key. There always is one, the anchor. That it is the last is looked at.
func (c *cursor) seek(key []byte) error {
	c.path = c.path[:1]
	if err := c.down(func(n *Node) int { return n.find(key) }); err != nil {
		return err
	}
	e, err := c.entry()
	if err != nil || bytes.Equal(e.Key, key) {
		return err
	}
	if bytes.Compare(e.Key, key) > 0 {
		return fmt.Errorf("key %.40q: %w", key, ErrNotProven)
	}
	next, ok, err := c.peek()
	if err == nil && ok && bytes.Compare(next, key) <= 0 {
		err = fmt.Errorf("key %.40q: %w", key, ErrNotProven)
	}
	return err
}

// lead is seek in whole nodes, from as far up as it must go; nothing more is looked at.
func (c *cursor) lead(key []byte) error {
	for len(c.path) > 1 {
		if s := c.here(); bytes.Compare(s.node.key(0), key) <= 0 && (s.hi == nil || bytes.Compare(key, s.hi) < 0) {
			break
		}
		c.path = c.path[:len(c.path)-1]
	}
	return c.down(func(n *Node) int { return n.find(key) })
}

// peek returns the key of the next entry; false at the end.
func (c *cursor) peek() ([]byte, bool, error) {
	for i := len(c.path) - 1; i >= 0; i-- {
		if s := c.path[i]; s.i+1 < s.node.Len() {
			e, err := s.node.entry(s.i + 1)
			return e.Key, true, err
		}
	}
	return nil, false, nil
}

// next goes one entry on; false at the end, where it stays.
func (c *cursor) next() (bool, error) {
	return c.turn(func(s *step) bool { return s.i+1 < s.node.Len() }, 1, func(*Node) int { return 0 })
}

// prev goes one entry back; false at the anchor, where it stays.
func (c *cursor) prev() (bool, error) {
	return c.turn(func(s *step) bool { return s.i > 0 }, -1, func(n *Node) int { return n.Len() - 1 })
}

// turn goes up until it can go aside, by one, and down again.
func (c *cursor) turn(can func(*step) bool, by int, pick func(*Node) int) (bool, error) {
	for i := len(c.path) - 1; i >= 0; i-- {
		s := &c.path[i]
		if !can(s) {
			continue
		}
		s.i += by
		c.path = c.path[:i+1]
		if s.node.Level == c.level {
			_, err := s.entry()
			return true, err
		}
		ref, err := c.below()
		if err == nil {
			err = c.enter(ref)
		}
		if err == nil {
			err = c.down(pick)
		}
		return true, err
	}
	return false, nil
}

// index is how many entries of the level there are before the one at which it stands, of level 0.
func (c *cursor) index() uint64 {
	var out uint64
	for _, s := range c.path {
		out += s.node.before(s.i)
	}
	return out
}

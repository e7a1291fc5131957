package grange_test

import (
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/grange-grid/grange"
)

// Two households in one program: anna's agent keeps a tree with bo's, over the loopback
// interface, and reads it back from there.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "grange")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	start := func(name string) (*grange.Agent, <-chan error) {
		c := grange.Config{Dir: filepath.Join(dir, name), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
		keep := func(phrase string) error { return nil } // 24 words to write down: all that brings the household back
		if err := grange.Create(ctx, c, name, keep); err != nil {
			log.Fatal(err)
		}
		agent, err := grange.Open(ctx, c)
		if err != nil {
			log.Fatal(err)
		}
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- agent.Run(ctx, func([]string) { close(ready) }) }()
		select {
		case <-ready:
		case err := <-ended:
			log.Fatal(err)
		}
		return agent, ended
	}
	anna, annaEnded := start("anna")
	bo, boEnded := start("bo")

	// Once: an invitation, by which each keeps a gigabyte for the other.
	invitation, err := anna.Invite(ctx, grange.Terms{Give: 1e9, Want: 1e9})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := bo.Accept(ctx, invitation.Code, nil); err != nil {
		log.Fatal(err)
	}

	// Any fs.FS can be stored. When Put returns, it is on bo's disk, and bo has signed for it.
	photos := fstest.MapFS{"2026/harvest.txt": {Data: []byte("six baskets of plums\n")}}
	put, err := anna.Put(ctx, "photos", photos, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(put.Name, "version", put.Number, put.Worth.Text)

	fsys, err := anna.FS(ctx, grange.Ref{Name: "photos"})
	if err != nil {
		log.Fatal(err)
	}
	text, err := fs.ReadFile(fsys, "2026/harvest.txt")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))

	cancel()
	for _, ended := range []<-chan error{annaEnded, boEnded} {
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
	for _, agent := range []*grange.Agent{anna, bo} {
		if err := agent.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// photos version 1 survives your disk
	// six baskets of plums
}

package grange_test

import (
	"path/filepath"
	"testing"

	"github.com/grange-grid/grange"
)

func TestCloseEndsRun(t *testing.T) {
	c := grange.Config{Dir: filepath.Join(t.TempDir(), "anna"), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	if err := grange.Create(t.Context(), c, "anna", nil); err != nil {
		t.Fatal(err)
	}
	a, err := grange.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(t.Context(), func([]string) { close(ready) }) }()
	<-ready
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := a.Run(t.Context(), nil); err != nil {
		t.Errorf("run after close: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	again, err := grange.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("the directory is not free: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

package grange_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// housePackage is a package as go list tells of it.
type housePackage struct {
	ImportPath, Dir, Name   string
	GoFiles, IgnoredGoFiles []string
	Imports                 []string
	DepOnly                 bool
	Module                  *struct{ Path string }
	Error                   *struct{ Err string }
}

func (p housePackage) rel() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, houseModule), "/")
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go %s: %s", strings.Join(args, " "), failed.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// listHouse returns the packages of the house, and the module of every package that they use.
func listHouse(t *testing.T) (rooms []housePackage, modules map[string]string) {
	t.Helper()
	out := goCommand(t, "list", "-e", "-deps", "-json=ImportPath,Dir,Name,GoFiles,IgnoredGoFiles,Imports,DepOnly,Module,Error", "./...")
	modules = map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p housePackage
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module != nil && p.Module.Path != houseModule {
			modules[p.ImportPath] = p.Module.Path
		}
		if p.DepOnly {
			continue
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		rooms = append(rooms, p)
	}
	if len(rooms) < 5 {
		t.Fatalf("go list names %d packages of the house", len(rooms))
	}
	return rooms, modules
}

// parse reads the files of a package that are no tests, those for other systems among them.
func (p housePackage) parse(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset, files := token.NewFileSet(), []*ast.File{}
	for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return fset, files
}

// fileUse is a name of an imported package that a file uses; "." where it imports
// it so that its names stand without the package's.
type fileUse struct {
	name string
	pos  token.Pos
}

func usesOf(f *ast.File, imported string) (uses []fileUse) {
	local := ""
	for _, spec := range f.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != imported {
			continue
		}
		local = path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == "." {
			return []fileUse{{".", spec.Pos()}}
		}
	}
	if local == "" || local == "_" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local {
				uses = append(uses, fileUse{s.Sel.Name, s.Pos()})
			}
		}
		return true
	})
	return uses
}

func TestImportsRunDown(t *testing.T) {
	rooms, _ := listHouse(t)
	for _, p := range rooms {
		if layerOf(p.rel()) == "" {
			t.Errorf("%s: %s", p.ImportPath, houseBan(p.rel(), ""))
		}
		for _, imported := range p.Imports {
			to, ok := strings.CutPrefix(imported+"/", houseModule+"/")
			if !ok || len(p.GoFiles) == 0 {
				continue
			}
			if why := houseBan(p.rel(), strings.TrimSuffix(to, "/")); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
			}
		}
	}
}

func TestPureRoomsHaveNoWorld(t *testing.T) {
	rooms, _ := listHouse(t)
	for _, p := range rooms {
		if layerOf(p.rel()) != "pure" {
			continue
		}
		for _, imported := range p.Imports {
			if brings := worldBan(p.rel(), imported); brings != "" {
				t.Errorf("%s imports %s, which brings in %s: pure rooms are given it as an argument, so that every run of them can be repeated", p.rel(), imported, brings)
			}
		}
		fset, files := p.parse(t)
		for _, f := range files {
			for imported, names := range worldlyNames {
				for _, u := range usesOf(f, imported) {
					if p.rel() != randomRoom && (u.name == "." || slices.Contains(names, u.name)) {
						t.Errorf("%s: %s.%s draws randomness, which of the pure rooms only %s may", fset.Position(u.pos), imported, u.name, randomRoom)
					}
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if _, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s: a goroutine in a pure room: who calls it decides what runs at once", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
}

func TestEachLibraryHasOneImporter(t *testing.T) {
	rooms, modules := listHouse(t)
	for _, p := range rooms {
		for _, imported := range p.Imports {
			module, ok := modules[imported]
			if !ok {
				continue
			}
			if l, known := libraries[module]; !known {
				t.Errorf("%s imports %s of %s, which nobody has given a reason for: each library is a stranger in the house, see docs/RATIONALE.md", p.ImportPath, imported, module)
			} else if !slices.Contains(l.by, p.rel()) {
				t.Errorf("%s imports %s: %s (%s) is for %q alone, so that it can be replaced, and its surprises stay, in one place", p.ImportPath, imported, module, l.why, l.by)
			}
		}
	}
	for module, l := range libraries {
		if len(l.by) > 1 && !strings.HasPrefix(module, "golang.org/x/") {
			t.Errorf("%s has %d importers: only golang.org/x may have several", module, len(l.by))
		}
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if _, known := libraries[r.Path]; !known && !r.Indirect {
			t.Errorf("go.mod requires %s, which nobody has given a reason for", r.Path)
		}
	}
}

func TestOnlyTheClockReadsTheTime(t *testing.T) {
	rooms, _ := listHouse(t)
	for _, p := range rooms {
		fset, files := p.parse(t)
		for _, f := range files {
			for _, u := range usesOf(f, "time") {
				if u.name == "." || !clockMay(p.rel(), u.name) {
					t.Errorf("%s: time.%s: only edge/clock reads the time; the rest is handed a core.Clock, so that a test can make it wait, leap and lie", fset.Position(u.pos), u.name)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	rooms, _ := listHouse(t)
	for _, p := range rooms {
		fset, files := p.parse(t)
		if len(files) == 0 {
			continue
		}
		for _, f := range files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: an init: what happens at start-up is visible in one place, which is main", fset.Position(fn.Pos()))
				}
			}
		}
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		begins := "Package " + p.Name + " "
		if p.Name == "main" {
			begins = "Command " + path.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(d.Doc, begins) {
			t.Errorf("%s: its doc comment does not begin with %q: whoever opens a room first wants to know what it is, why so, and what it does not do", p.ImportPath, begins)
		}
	}
}

// The rules are tables, and a table that bans nothing would pass for ever.
func TestTheRulesOfTheHouseBan(t *testing.T) {
	for _, c := range []struct {
		from, to string
		banned   bool
	}{
		{"", "service/vault", false},
		{"", "edge/disk", false},
		{"", "pure/seal", false},
		{"", "core", false},
		{"", "internal/wire", false},
		{"cmd/grange", "face/api", false},
		{"cmd/grange", "", false},
		{"face/api", "", false},
		{"face/console", "face/api", false},
		{"service/vault", "pure/seal", false},
		{"service/vault", "internal/wire", false},
		{"edge/disk", "pure/codec", false},
		{"edge/disk/pack", "edge/disk", false},
		{"pure/seal", "pure/codec", false},
		{"internal/sim", "internal/wire", false},
		{"internal/golden", "core", false},
		{"core", "pure/codec", true},
		{"core", "core/seamtest", true},
		{"pure/seal", "service/vault", true},
		{"pure/seal", "edge/disk", true},
		{"pure/seal", "internal/wire", true},
		{"pure/seal", "", true},
		{"internal/wire", "service/vault", true},
		{"service/vault", "service/barter", true},
		{"service/vault", "edge/disk", true},
		{"service/vault", "", true},
		{"service/vault", "internal/sim", true},
		{"service/vault", "core/seamtest", true},
		{"pure/seal", "internal/golden", true},
		{"internal/golden", "pure/codec", true},
		{"service/vault", "face/api", true},
		{"edge/disk", "edge/p2p", true},
		{"edge/disk", "service/vault", true},
		{"edge/disk", "internal/wire", true},
		{"", "face/api", true},
		{"", "cmd/grange", true},
		{"", "internal/sim", true},
		{"face/api", "service/vault", true},
		{"face/api", "edge/disk", true},
		{"face/api", "cmd/grange", true},
		{"cmd/grange", "service/vault", true},
		{"cmd/grange", "edge/p2p", true},
		{"cmd/grange", "internal/wire", true},
		{"internal/sim", "service/vault", true},
		{"internal/sim", "edge/disk", true},
		{"internal/demo", "", true},
		{"internal/demo", "internal/village", false},
		{"internal/village", "core", true},
		{"internal/bench", "edge/files", true},
		{"service/vault", "internal/village", true},
		{"util", "core", true},
		{"core", "util", true},
		{"core/extra", "core", true},
		{"internal/other", "core", true},
		{"service/vault", "internal/other", true},
	} {
		if why := houseBan(c.from, c.to); (why != "") != c.banned {
			t.Errorf("%q imports %q: %q", c.from, c.to, why)
		}
	}
	for imported, banned := range map[string]bool{
		"os": true, "os/exec": true, "net": true, "net/http": true, "io/ioutil": true, "math/rand": true, "math/rand/v2": true,
		"crypto/rand": true, "time": true, "syscall": true, "log": true, "golang.org/x/sys/unix": true,
		"bytes": false, "io": false, "io/fs": false, "log/slog": false, "math": false, "math/bits": false, "crypto/aes": false,
	} {
		if got := worldBan("pure/page", imported) != ""; got != banned {
			t.Errorf("pure/page imports %s: banned %v", imported, got)
		}
	}
	if worldBan(randomRoom, "crypto/rand") != "" || worldBan(randomRoom, "math/rand") == "" {
		t.Errorf("%s may draw randomness from crypto/rand, and from nowhere else", randomRoom)
	}
	for _, c := range []struct {
		rel, name string
		may       bool
	}{
		{"edge/clock", "Now", true},
		{"edge/disk", "Now", false},
		{"service/vault", "Sleep", false},
		{"", "After", false},
		{"service/vault", "Duration", true},
		{"cmd/grange", "Now", true},
		{"cmd/grange", "Since", true},
		{"cmd/grange", "Sleep", false},
		{"internal/sim", "AfterFunc", true},
		{"internal/demo", "Sleep", true},
		{"face/api", "NewTicker", false},
	} {
		if clockMay(c.rel, c.name) != c.may {
			t.Errorf("%q uses time.%s: may it is %v", c.rel, c.name, !c.may)
		}
	}
}

func TestUsesOfAPackageAreSeen(t *testing.T) {
	for src, want := range map[string]string{
		`import "time"; var x = time.Now()`:                          "Now",
		`import "time"; var now = time.Now; var d time.Duration`:     "Now Duration",
		`import clock "time"; func f() { clock.Sleep(1) }`:           "Sleep",
		`import . "time"; func f() { Sleep(1) }`:                     ".",
		`import _ "time"`:                                            "",
		`import "fmt"; var time fmt.Stringer; var s = time.String()`: "",
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range usesOf(f, "time") {
			got = append(got, u.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}

package grange_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// The house is the tree of packages, a layer the packages of one floor. These
// tests hold the plan of docs/ARCHITECTURE.md; each failure says why the plan is so.
const houseModule = "github.com/grange-grid/grange"

// houseLayer is a floor: the layers that its packages may import besides those of
// their own folder, and why not more.
type houseLayer struct {
	may []string
	// sideways says that packages of the layer may import each other.
	sideways bool
	// tests says that only tests import it: then it is test code itself.
	tests bool
	// outside says that it drives the program as a person does, and no part of the program imports
	// it: it may look at the clock.
	outside bool
	why     string
}

var houseLayers = map[string]houseLayer{
	"core":             {why: "core holds the nouns that every room speaks of: what it imported, all would"},
	"core/seamtest":    {may: []string{"core"}, tests: true, why: "a conformance suite knows the seam alone, so that any implementation can be held against it"},
	"pure":             {may: []string{"core"}, sideways: true, why: "rules without a world can be tested and read alone: whatever they need of it comes as an argument"},
	"internal/wire":    {may: []string{"core", "pure"}, why: "HTTP bodies, limits and errors are shared by all services, so they know none"},
	"internal/golden":  {may: []string{"core"}, tests: true, why: "every room reads its vectors with it, so it knows none"},
	"internal/economy": {may: []string{"core", "pure"}, tests: true, why: "a month among many households is a model beside the rules that decide in it"},
	"internal/sim":     {may: []string{"core", "pure", "internal/wire"}, tests: true, why: "the simulated world stands in for the edges under any service, so it knows none"},
	"internal/trial":   {tests: true, why: "the trials judge the program from outside, as a process: what they knew of its inside could not surprise them"},
	"internal/village": {outside: true, why: "it runs the program from outside: what it knew of its inside could not surprise it"},
	"internal/demo":    {may: []string{"core", "pure", "edge", "internal/village"}, outside: true, why: "the demo shows the program from outside, and looks at what comes back with an edge at most: what it did by itself would show nothing"},
	"internal/bench":   {may: []string{"internal/village"}, outside: true, why: "the benchmark times the program as people run it, beside others that it knows as little of"},
	"edge":             {may: []string{"core", "pure"}, why: "an edge touches one piece of the world and can be replaced whole: it knows neither another edge nor who uses it"},
	"service":          {may: []string{"core", "pure", "internal/wire"}, why: "a service declares the small interface that it needs of another or of the world; package grange fits them together"},
	"grange":           {may: []string{"core", "pure", "internal/wire", "edge", "service"}, why: "package grange is what faces import, so it knows none"},
	"face":             {may: []string{"core", "pure", "internal/wire", "grange"}, sideways: true, why: "faces reach an agent through package grange, which owns every lifetime: a face that went around it would own some too"},
	"cmd":              {may: []string{"core", "pure", "grange", "face"}, why: "the program is made of faces and package grange, and wires nothing itself: else there were a second place that does"},
}

// layerOf names the layer of a package, by its folder in the module.
func layerOf(rel string) string {
	if rel == "" {
		return "grange"
	}
	first, _, _ := strings.Cut(rel, "/")
	for name := range houseLayers {
		if rel == name || (strings.Contains(name, "/") && strings.HasPrefix(rel, name+"/")) {
			return name
		}
	}
	if _, ok := houseLayers[first]; ok && first != "core" && first != "grange" {
		return first
	}
	return ""
}

// houseBan says why one package may not import another, "" if it may. Both are folders in the module.
func houseBan(from, to string) string {
	a, b := layerOf(from), layerOf(to)
	switch layer := houseLayers[a]; {
	case a == "":
		return fmt.Sprintf("the house has no room %q: add its layer to houseLayers, with its reason", from)
	case b == "":
		return fmt.Sprintf("the house has no room %q: add its layer to houseLayers, with its reason", to)
	case houseLayers[b].tests && !layer.tests:
		return fmt.Sprintf("%s is for tests: in the program it would be a second world beside the real one", to)
	case a == b && (layer.sideways || layer.tests || sameRoom(from, to)), slices.Contains(layer.may, b):
		return ""
	default:
		return layer.why
	}
}

// sameRoom tells whether two folders are one room, such as edge/disk and edge/disk/pack.
func sameRoom(from, to string) bool {
	room := func(rel string) string {
		parts := strings.SplitN(rel, "/", 3)
		return path.Join(parts[:min(2, len(parts))]...)
	}
	return room(from) == room(to)
}

// worldly are the packages that no pure room imports, and what each brings in.
// A name that ends with '/' stands for all below it.
var worldly = map[string]string{
	"os": "the disk and the environment", "os/": "processes and signals", "io/ioutil": "the disk", "path/filepath": "the disk's own rules",
	"syscall": "the machine", "golang.org/x/sys/": "the machine",
	"net": "the network", "net/": "the network",
	"log":       "standard error",
	"math/rand": "randomness", "math/rand/": "randomness", "crypto/rand": "randomness",
	// Not even for Duration: times in the formats are whole seconds, and they arrive as arguments.
	"time": "the clock",
}

// worldlyNames are what pure rooms do not use of packages that they do import.
var worldlyNames = map[string][]string{
	"crypto/hpke":    {"Seal", "NewSender"},
	"crypto/ed25519": {"GenerateKey"},
	"crypto/ecdh":    {"GenerateKey"},
	"crypto/mlkem":   {"GenerateKey768", "GenerateKey1024"},
}

// randomRoom is the pure room that may draw randomness: the standard library's HPKE takes none as an argument.
const randomRoom = "pure/seal"

// worldBan says what a pure room's import brings into it, "" for nothing.
func worldBan(rel, imported string) string {
	for name, brings := range worldly {
		below := strings.HasSuffix(name, "/") && strings.HasPrefix(imported, name)
		if (below || imported == name) && (imported != "crypto/rand" || rel != randomRoom) {
			return brings
		}
	}
	return ""
}

// library is a module of others: who imports it, outside tests, and what for. Only
// golang.org/x, which is the standard library in all but name, may have several importers.
type library struct {
	by  []string
	why string
}

var libraries = map[string]library{
	"github.com/zeebo/blake3":                {[]string{"core"}, "scores and derived keys"},
	"github.com/mr-tron/base58":              {[]string{"core"}, "did:key texts"},
	"github.com/fxamacker/cbor/v2":           {[]string{"pure/codec"}, "the one encoding"},
	"github.com/cloudflare/circl":            {[]string{"pure/steward"}, "k of n stewards"},
	"github.com/PlakarKorp/go-cdc-chunkers":  {[]string{"pure/chunk"}, "cutting by content"},
	"github.com/klauspost/compress":          {[]string{"pure/chunk"}, "zstd"},
	"github.com/klauspost/reedsolomon":       {[]string{"pure/erasure"}, "k of n"},
	"lukechampine.com/blake3":                {[]string{"pure/proof"}, "Bao slices, which zeebo/blake3 has not"},
	"github.com/ucan-wg/go-ucan":             {[]string{"pure/voucher"}, "the second reader of vouchers"},
	"github.com/MetaMask/go-did-it":          {[]string{"pure/voucher"}, "did:key, for go-ucan"},
	"github.com/tyler-smith/go-bip39":        {[]string{"pure/identity"}, "the words of the recovery phrase"},
	"github.com/libp2p/go-libp2p":            {[]string{"edge/p2p"}, "connections to other agents"},
	"github.com/libp2p/go-yamux/v5":          {[]string{"edge/p2p"}, "libp2p's muxer, for its windows"},
	"github.com/multiformats/go-multiaddr":   {[]string{"edge/p2p"}, "libp2p's addresses"},
	"github.com/multiformats/go-multistream": {[]string{"edge/p2p"}, "libp2p's protocol names"},
	"github.com/quic-go/quic-go":             {[]string{"edge/p2p"}, "libp2p's QUIC, for its windows"},
	"github.com/cockroachdb/pebble/v2":       {[]string{"edge/disk"}, "the books"},
	"golang.org/x/sys":                       {[]string{"edge/disk"}, "locks, room and syncing of a disk"},
	"golang.org/x/sync":                      {[]string{"", "service/barter", "service/federation", "service/vault"}, "errgroup"},
	"github.com/alecthomas/kong":             {[]string{"cmd/grange"}, "the command line"},
	"github.com/BurntSushi/toml":             {[]string{""}, "config.toml"},
	"golang.org/x/term":                      {[]string{"cmd/grange", "internal/village"}, "terminals, and asking without echo"},
	"rsc.io/qr":                              {[]string{"cmd/grange"}, "invitations to scan"},
	"github.com/rogpeppe/go-internal":        {nil, "testscript"},
	"pgregory.net/rapid":                     {nil, "properties"},
}

// clockNames are what only the real clock uses of package time.
var clockNames = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// clockMay tells whether a package may use a name of package time.
func clockMay(rel, name string) bool {
	switch layer := layerOf(rel); {
	case !slices.Contains(clockNames, name), rel == "edge/clock", houseLayers[layer].tests, houseLayers[layer].outside:
		return true
	default:
		return layer == "cmd" && (name == "Now" || name == "Since") // how long a command took, for display
	}
}

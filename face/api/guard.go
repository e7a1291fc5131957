package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Guard lets only those through to h who send "Authorization: Bearer" and the token. It is for TCP, where
// everybody on the machine, and every web page in its browser, can try.
//
// Host must be a loopback name, the address at which the connection arrived, or
// one of hosts, so that no foreign name that is made to point here gets through; and
// Origin, if a browser sends one, must be the same Host. An empty token lets nobody through.
func Guard(token string, h http.Handler, hosts ...string) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(strings.TrimSpace(got)))
		right := subtle.ConstantTimeCompare(sum[:], want[:]) == 1
		switch {
		case !hostAllowed(r, hosts):
			failure(nil, &Error{Code: CodeUnauthorized, Message: "this is not the Host that was asked for", Hint: "call it by the address that 'grange run --api' was given"})(w)
		case !originSame(r):
			failure(nil, &Error{Code: CodeUnauthorized, Message: "other sites' pages may not call this"})(w)
		case token == "" || !right || !strings.EqualFold(scheme, "Bearer"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="grange"`)
			failure(nil, &Error{Code: CodeUnauthorized, Message: "no token, or a wrong one", Hint: "send Authorization: Bearer and what is in the file api.token"})(w)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// hostAllowed tells whether a request names this machine by a name that it has.
func hostAllowed(r *http.Request, hosts []string) bool {
	name := strings.ToLower(hostOnly(r.Host))
	if name == "localhost" || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

// hostOnly returns a Host without its port and without the brackets of an IPv6 address.
func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// originSame tells whether a browser's page, if it is one that asks, came from here.
func originSame(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch len(origins) {
	case 0:
		return true
	case 1:
		return origins[0] == "http://"+r.Host || origins[0] == "https://"+r.Host
	}
	return false
}

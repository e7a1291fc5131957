// Package api is the face by which programs of the owner reach an agent: an HTTP
// API in JSON, its server (Handler) and its client (Client). docs/API.md lists
// every resource.
//
// The command line goes through it too, over the agent's Unix socket (Listen,
// Dial) or, where no agent runs, straight into the handler of an agent in its own
// process (Local). So there is one path to everything, and what curl sees is what
// the commands see.
//
// The handler lets everybody do everything: who may call it is decided before it.
// A Unix socket does that by its place and mode; over TCP, Guard asks for a token. It
// also keeps nothing and decides nothing: package grange does. What it adds is the
// form of requests, the codes of errors, and the hint that goes with each.
package api

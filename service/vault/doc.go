// Package vault keeps trees of files as versions on partners' disks: it cuts
// them into chunks, packs and seals those, fills segments with them, codes the
// segments into pieces and has barter place the pieces; and it does all of that
// backwards. It checks what the pieces are worth and mends what is missing.
//
// A put is one forward pipe over bounded channels, so that memory stays flat
// however large the tree is (put.go draws it). What a version consists of stands in
// its manifest, a tree of pages that are stored as chunks are.
//
// The vault knows nothing of connections, pacts or disks: barter, federation and
// edge/files come to it as the small interfaces below, and package grange fits
// them in.
package vault

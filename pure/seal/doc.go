// Package seal encrypts bytes for their readers: chunks and pages for whoever
// holds their key, small things and state roots under a household's vault
// secret, and boxes for the holder of an X-Wing private key. The formats are
// those of docs/SPEC.md, sections 1, 4 and 5.
//
// Every symmetric key here is derived for one string and seals nothing else:
// from the score of that very string (chunks), or from 32 fresh random bytes
// (everything else). That is why the nonce is always zero. A chunk's key comes
// from the bytes that are sealed, after compression and padding, and not from
// the plaintext: a new zstd that packs one plaintext differently gets another
// key, where the same key with the same nonce would give both packings away.
//
// AES-GCM does not commit to its key: one ciphertext can be made to open under
// two keys. So OpenChunk checks the score of what it opened; the plaintext's
// score is checked by the caller, who has unpacked it.
//
// It is the one pure room that draws randomness, because the standard library's
// HPKE takes none as an argument. It does not pad, compress or keep keys, and
// it does not hide lengths: see pure/chunk for padding.
package seal

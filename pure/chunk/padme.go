package chunk

import "math/bits"

// Padme returns the least length, at least n, that Padmé allows: one whose
// binary form ends in as many zeros as leaves about log₂ log₂ n bits to tell
// lengths apart by. It costs at most 12 %, and less the longer n is: at most
// 3.1 % at 1 MiB. Source: Nikitin et al., "Reducing Metadata Leakage from
// Encrypted Files and Communication with PURBs", PoPETs 2019, algorithm 1.
func Padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

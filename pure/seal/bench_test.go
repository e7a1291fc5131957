package seal

import "testing"

const benchSize = 256 << 10

func BenchmarkChunk(b *testing.B) {
	secret, packed, dst := bytesOf("secret"), make([]byte, benchSize), make([]byte, 0, benchSize+Overhead)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		Chunk(secret, packed, dst)
	}
}

func BenchmarkOpenChunk(b *testing.B) {
	sealed, score, key := Chunk(bytesOf("secret"), make([]byte, benchSize), nil)
	dst := make([]byte, 0, benchSize)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenChunk(key, score, sealed, dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTo(b *testing.B) {
	key, err := NewPrivateKey(*bytesOf("seed"))
	if err != nil {
		b.Fatal(err)
	}
	public := key.Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := To(public, nil, make([]byte, 64)); err != nil {
			b.Fatal(err)
		}
	}
}

// Package closed puts a closed loop of workers on a store, and tells how fast it was.
//
// Every worker sends its next operation when the last one was answered. So the latencies say nothing about a store that
// is offered more than it takes.
package closed

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	keys       = 1_000_000
	valueBytes = 256
)

var (
	address = flag.String("address", "", "where the store listens")
	seconds = flag.Float64("seconds", 5, "how long operations are started")
	workers = flag.Int("workers", 64, "operations under way together")
)

// Address is where the store listens. The flags must have been parsed.
func Address() string { return *address }

// Workers is how many operations are under way together.
func Workers() int { return *workers }

// Duration is how long operations are started.
func Duration() time.Duration { return time.Duration(*seconds * float64(time.Second)) }

// Source draws operations: uniform keys of 16 bytes, values of 256 bytes, each value another one.
type Source struct {
	random *rand.ChaCha8
	value  [valueBytes]byte
}

// NewSource makes one whose keys are those of the seed.
func NewSource(seed int) *Source {
	var bytes [32]byte
	binary.LittleEndian.PutUint64(bytes[:], uint64(seed)+1)
	source := &Source{random: rand.NewChaCha8(bytes)}
	_, _ = source.random.Read(source.value[:])
	return source
}

// Next draws a key and a value. The value is good until the next call.
func (s *Source) Next() (string, []byte) {
	drawn := s.random.Uint64()
	binary.LittleEndian.PutUint64(s.value[:], drawn)
	return fmt.Sprintf("key-%012d", drawn%keys), s.value[:]
}

// Report is what a load has to tell.
type Report struct {
	Ops     int      `json:"ops"`
	Seconds float64  `json:"seconds"`
	P50ms   *float64 `json:"p50_ms"`
	P99ms   *float64 `json:"p99_ms"`
}

// Print writes the report as one line of JSON.
func (r Report) Print() {
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		log.Fatal(err)
	}
}

// Run has every worker do one operation after the other until the time is over, and waits for the last answers. An
// operation that fails ends the program: a rate with errors in it is none.
func Run(put func(worker int, key string, value []byte) error) Report {
	took := make([][]time.Duration, Workers())
	begin := time.Now()
	end := begin.Add(Duration())
	var all sync.WaitGroup
	for worker := range took {
		all.Go(func() {
			source := NewSource(worker)
			for start := time.Now(); start.Before(end); start = time.Now() {
				key, value := source.Next()
				if err := put(worker, key, value); err != nil {
					log.Fatal(err)
				}
				took[worker] = append(took[worker], time.Since(start))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(begin)
	together := slices.Concat(took...)
	slices.Sort(together)
	return Report{len(together), elapsed.Seconds(), at(together, 0.5), at(together, 0.99)}
}

// at is a quantile of what is sorted, in milliseconds.
func at(sorted []time.Duration, quantile float64) *float64 {
	if len(sorted) == 0 {
		return nil
	}
	ms := sorted[int(float64(len(sorted)-1)*quantile)].Seconds() * 1e3
	return &ms
}

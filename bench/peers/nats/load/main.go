// Puts on a NATS JetStream KV bucket: each answered before the next (-mode put), or published with many unanswered at a
// time and all answered in the end (-mode async).
package main

import (
	"context"
	"flag"
	"log"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"peers/closed"
)

const (
	bucket = "peers"
	// The most that may be unanswered on a connection, and how long that may last at a slow drive.
	pendingMax = 4000
	stallMax   = time.Minute
)

func main() {
	mode := flag.String("mode", "put", "put or async")
	connections := flag.Int("connections", 4, "connections that the workers share")
	flag.Parse()
	streams := make([]jetstream.JetStream, *connections)
	for i := range streams {
		streams[i] = connect()
	}
	config := jetstream.KeyValueConfig{Bucket: bucket, History: 1, Storage: jetstream.FileStorage}
	if _, err := streams[0].CreateOrUpdateKeyValue(context.Background(), config); err != nil {
		log.Fatal(err)
	}
	switch *mode {
	case "put":
		put(streams).Print()
	case "async":
		async(streams).Print()
	default:
		log.Fatalf("there is no mode %q", *mode)
	}
}

func connect() jetstream.JetStream {
	connection, err := nats.Connect(closed.Address())
	if err != nil {
		log.Fatal(err)
	}
	refused := func(_ jetstream.JetStream, _ *nats.Msg, err error) { log.Fatal(err) }
	stream, err := jetstream.New(
		connection,
		jetstream.WithPublishAsyncMaxPending(pendingMax),
		jetstream.WithPublishAsyncErrHandler(refused),
	)
	if err != nil {
		log.Fatal(err)
	}
	return stream
}

func put(streams []jetstream.JetStream) closed.Report {
	buckets := make([]jetstream.KeyValue, len(streams))
	for i, stream := range streams {
		kv, err := stream.KeyValue(context.Background(), bucket)
		if err != nil {
			log.Fatal(err)
		}
		buckets[i] = kv
	}
	return closed.Run(func(worker int, key string, value []byte) error {
		_, err := buckets[worker%len(buckets)].Put(context.Background(), key, value)
		return err
	})
}

// The time of a single answer is not taken: it would be that of a full window.
func async(streams []jetstream.JetStream) closed.Report {
	sent := make([]int, len(streams))
	begin := time.Now()
	end := begin.Add(closed.Duration())
	var all sync.WaitGroup
	for i, stream := range streams {
		all.Go(func() {
			source := closed.NewSource(i)
			for time.Now().Before(end) {
				key, value := source.Next()
				_, err := stream.PublishAsync("$KV."+bucket+"."+key, value, jetstream.WithStallWait(stallMax))
				if err != nil {
					log.Fatal(err)
				}
				sent[i]++
			}
			<-stream.PublishAsyncComplete()
		})
	}
	all.Wait()
	total := 0
	for _, count := range sent {
		total += count
	}
	return closed.Report{Ops: total, Seconds: time.Since(begin).Seconds()}
}

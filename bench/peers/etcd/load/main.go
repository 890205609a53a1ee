// Puts on etcd in a closed loop, over a few connections: more of them cost more CPU.
package main

import (
	"context"
	"flag"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"peers/closed"
)

func main() {
	connections := flag.Int("connections", 8, "connections that the workers share")
	flag.Parse()
	clients := make([]*clientv3.Client, *connections)
	for i := range clients {
		config := clientv3.Config{Endpoints: []string{closed.Address()}, Logger: zap.NewNop()}
		client, err := clientv3.New(config)
		if err != nil {
			log.Fatal(err)
		}
		clients[i] = client
	}
	closed.Run(func(worker int, key string, value []byte) error {
		_, err := clients[worker%len(clients)].Put(context.Background(), key, string(value))
		return err
	}).Print()
}

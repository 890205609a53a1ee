// The etcd server as its own project starts it. Its module cannot be installed by name, as it replaces modules.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

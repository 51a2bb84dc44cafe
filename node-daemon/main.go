// Command pvcd makes its host agree with the records of the cluster.
package main

import (
	"os"

	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/app"
)

func main() {
	if app.IsHook(os.Args[0]) {
		os.Exit(app.Hook(os.Args[1:]))
	}
	service.Main(app.Run)
}

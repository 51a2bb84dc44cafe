// Command pvc-api answers the HTTP API of the cluster.
package main

import (
	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/app"
	"github.com/parallelvirtualcluster/pvc/common/service"
)

func main() { service.Main(app.Run) }

// Command pvcd makes its host agree with the records of the cluster.
package main

import (
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/app"
)

func main() { service.Main(app.Run) }

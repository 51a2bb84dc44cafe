module github.com/parallelvirtualcluster/pvc

go 1.26.4

// Lists, creates, watches and patches with client-go; built-in kinds go as protobuf, as controllers do it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	check(err)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	set, err := kubernetes.NewForConfig(config)
	check(err)
	_, err = set.CoreV1().Namespaces().Get(ctx, "default", meta.GetOptions{})
	check(err)
	begin, err := set.CoreV1().ConfigMaps("default").List(ctx, meta.ListOptions{})
	check(err)
	fmt.Println("listed default")

	maps := set.CoreV1().ConfigMaps("default")
	only := "metadata.name=go"
	watch, err := maps.Watch(ctx, meta.ListOptions{ResourceVersion: begin.ResourceVersion, FieldSelector: only})
	check(err)
	_, err = maps.Create(ctx, &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "go"}, Data: map[string]string{"a": "1"}}, meta.CreateOptions{})
	check(err)
	fmt.Println("created")
	for event := range watch.ResultChan() {
		fmt.Println("watched", event.Type)
		if event.Type == "MODIFIED" {
			if event.Object.(*core.ConfigMap).Data["b"] != "2" {
				log.Fatal(event.Object)
			}
			return
		}
		found, err := maps.List(ctx, meta.ListOptions{FieldSelector: only, Limit: 1})
		check(err)
		if len(found.Items) != 1 {
			log.Fatal(found)
		}
		fmt.Println("found")
		patch := `{"metadata":{"labels":{"from":"go"}},"data":{"b":"2"}}`
		_, err = maps.Patch(ctx, "go", types.StrategicMergePatchType, []byte(patch), meta.PatchOptions{})
		check(err)
		fmt.Println("patched")
	}
	log.Fatal("the watch ended")
}

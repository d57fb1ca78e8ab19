import com.google.gson.reflect.TypeToken;
import io.kubernetes.client.custom.V1Patch;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.apis.CoreV1Api;
import io.kubernetes.client.openapi.models.V1ConfigMap;
import io.kubernetes.client.openapi.models.V1ObjectMeta;
import io.kubernetes.client.util.Config;
import io.kubernetes.client.util.PatchUtils;
import io.kubernetes.client.util.Watch;
import java.time.Duration;
import java.util.Map;

/** Lists, creates, watches and patches with the official Java client. */
public class Client {
  public static void main(String[] args) throws Exception {
    ApiClient client = Config.fromConfig(System.getenv("KUBECONFIG"));
    client.setReadTimeout((int) Duration.ofSeconds(30).toMillis());
    CoreV1Api core = new CoreV1Api(client);
    if (core.listNamespace().execute().getItems().stream().noneMatch(n -> n.getMetadata().getName().equals("default")))
      throw new IllegalStateException("no namespace default");
    System.out.println("listed default");
    String begin = core.listNamespacedConfigMap("default").execute().getMetadata().getResourceVersion();
    V1ConfigMap body = new V1ConfigMap().metadata(new V1ObjectMeta().name("java")).data(Map.of("a", "1"));
    core.createNamespacedConfigMap("default", body).execute();
    System.out.println("created");
    var call = core.listNamespacedConfigMap("default").resourceVersion(begin).fieldSelector("metadata.name=java").watch(true).buildCall(null);
    try (Watch<V1ConfigMap> watch = Watch.createWatch(client, call, new TypeToken<Watch.Response<V1ConfigMap>>() {}.getType())) {
      for (Watch.Response<V1ConfigMap> event : watch) {
        System.out.println("watched " + event.type);
        if (event.type.equals("MODIFIED")) {
          if (!"2".equals(event.object.getData().get("b"))) throw new IllegalStateException(event.object.toString());
          System.exit(0);
        }
        if (core.listNamespacedConfigMap("default").fieldSelector("metadata.name=java").limit(1).execute().getItems().size() != 1)
          throw new IllegalStateException("not found");
        System.out.println("found");
        V1Patch patch = new V1Patch("{\"metadata\":{\"labels\":{\"from\":\"java\"}},\"data\":{\"b\":\"2\"}}");
        PatchUtils.patch(V1ConfigMap.class, () -> core.patchNamespacedConfigMap("java", "default", patch).buildCall(null),
            V1Patch.PATCH_FORMAT_STRATEGIC_MERGE_PATCH, client);
        System.out.println("patched");
      }
    }
    throw new IllegalStateException("the watch ended");
  }
}

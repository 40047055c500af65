// KubeletConfiguration `containerRuntimeEndpoint` and `imageServiceEndpoint`: the runtime, where nobody brings one.
import { type CriClient, createCriClient, type ImageService, type RuntimeService } from '@nodelet/cri-api'
import type { KubeletOptions } from '../config.ts'
import type { KubeletConfiguration } from '../configuration/types.ts'

export interface RuntimeClients extends Disposable {
  runtimeService: RuntimeService
  imageService: ImageService
}

/** Connects to what is not given, at the first call; one endpoint is one connection. */
export function runtimeClients(
  { runtimeService, imageService }: Pick<KubeletOptions, 'runtimeService' | 'imageService'>,
  configuration: Pick<KubeletConfiguration, 'containerRuntimeEndpoint' | 'imageServiceEndpoint'>,
): RuntimeClients {
  const { containerRuntimeEndpoint: runtimeAt, imageServiceEndpoint: imagesAt } = configuration
  const clients = new Map<string, CriClient>()
  const at = (endpoint: string): CriClient => {
    // The Go kubelet takes a path alone, too.
    const url = endpoint.startsWith('/') ? `unix://${endpoint}` : endpoint
    const client = clients.get(url) ?? createCriClient(url)
    clients.set(url, client)
    return client
  }
  return {
    runtimeService: runtimeService ?? at(runtimeAt).runtimeService,
    imageService: imageService ?? at(imagesAt || runtimeAt).imageService,
    [Symbol.dispose]() {
      for (const client of clients.values()) client.close()
    },
  }
}

// The container of a pod without pod, network and API: made and started by conmon and runc.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import { openContainers, openImages } from '@nodelet/runtime-runc'
import { makeDemoImage } from '../../packages/node-agent/src/demo/image.ts'

interface Baseline {
  folder: string
  run: string
  image: string
  count: number
  signal: AbortSignal
}

/** Milliseconds of each. */
export async function makeBaseline({ folder, run, image, count, signal }: Baseline): Promise<number[]> {
  const { NODE, CONTAINER } = NamespaceMode
  const times: number[] = []
  try {
    await using images = await openImages({ root: join(folder, 'base-images') })
    const [made] = await images.importArchive(await makeDemoImage(join(folder, 'base-image'), image), {
      reference: image,
    })
    const rootfs = await images.prepareRootfs('baseline', made?.id ?? '')
    await using containers = await openContainers({ stateDir: join(folder, 'base'), runDir: run })
    for (let index = 0; index < count; index += 1) {
      signal.throwIfAborted()
      const since = performance.now()
      const id = await containers.create({
        config: ContainerConfig.fromPartial({
          metadata: { name: 'main' },
          command: ['/bin/sleep', '1000'],
          linux: { securityContext: { namespaceOptions: { network: NODE, ipc: NODE, pid: CONTAINER } } },
        }),
        sandboxConfig: PodSandboxConfig.fromPartial({ logDirectory: folder }),
        sandbox: { id: 'bench', hostname: 'bench' },
        image: {},
        imageName: image,
        rootfs,
      })
      await containers.start(id)
      times.push(performance.now() - since)
      await containers.stop(id, 0)
      await containers.remove(id)
    }
    await images.releaseRootfs('baseline')
  } finally {
    rmSync(run, { recursive: true, force: true })
  }
  return times
}

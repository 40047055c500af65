// Checkpoints of containers: files below the kubelet's root that the runtime writes.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** @returns where it is: `checkpoints/checkpoint-POD_NAMESPACE-CONTAINER-TIME.tar`. @throws CriError of the runtime */
export async function checkpointContainer(
  { runtime, rootDir, nowMs }: { runtime: Pick<RuntimeService, 'checkpointContainer'>; rootDir: string; nowMs: number },
  { metadata }: Pod,
  container: string,
  containerId: string,
  timeoutSeconds: number,
  signal: AbortSignal,
): Promise<string> {
  const folder = join(rootDir, 'checkpoints')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const time = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z')
  const location = join(folder, `checkpoint-${metadata?.name}_${metadata?.namespace}-${container}-${time}.tar`)
  await runtime.checkpointContainer({ containerId, location, timeout: BigInt(timeoutSeconds) }, { signal })
  return location
}

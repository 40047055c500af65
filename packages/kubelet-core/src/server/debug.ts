// What is for looking into a node: commands in containers, checkpoints, what the runtime runs.
import type { RuntimeService } from '@nodelet/cri-api'
import { HttpError } from './http-error.ts'
import { hasContainer, requireContainer, requirePod } from './pods.ts'
import type { PodPath } from './routes.ts'
import type { KubeletView } from './view.ts'

/** Runs a command in a container and answers what it said, both outputs. @throws HttpError */
export async function runCommand(
  path: PodPath & { container: string },
  query: URLSearchParams,
  { node, runtimeService }: { node: KubeletView; runtimeService: Pick<RuntimeService, 'execSync'> },
  signal: AbortSignal,
): Promise<string> {
  const { containerId } = requireContainer(node, path)
  const cmd = (query.get('cmd') ?? '').split(' ')
  const { exitCode, stdout, stderr } = await runtimeService.execSync({ containerId, cmd, timeout: 0n }, { signal })
  const output = Buffer.concat([stdout, stderr]).toString()
  if (exitCode !== 0) throw new HttpError(500, `command '${cmd.join(' ')}' exited with ${exitCode}: ${output}`)
  return output
}

/** Writes a checkpoint of a running container. @returns where it is. @throws HttpError */
export async function takeCheckpoint(
  { container, ...path }: PodPath & { container: string },
  query: URLSearchParams,
  node: KubeletView,
  signal: AbortSignal,
): Promise<{ items: string[] }> {
  const pod = requirePod(node, path)
  if (!hasContainer(pod, container)) {
    throw new HttpError(404, `container ${container} does not exist`)
  }
  const timeout = query.get('timeout') ?? '0'
  if (!/^\d{1,9}$/.test(timeout))
    throw new HttpError(400, `cannot parse value of timeout parameter: ${JSON.stringify(timeout)}`)
  if (!node.checkpoint) throw new HttpError(404, '404 page not found')
  const found = node.container(path.namespace, path.pod, container)
  if ('error' in found) throw new HttpError(found.status, found.error)
  try {
    return { items: [await node.checkpoint(pod, container, found.containerId, Number(timeout), signal)] }
  } catch (error) {
    const where = `${path.namespace}/${path.pod}/${container}`
    throw new HttpError(500, `checkpointing of ${where} failed (${(error as Error).message})`)
  }
}

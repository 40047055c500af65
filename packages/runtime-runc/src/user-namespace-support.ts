// Whether this machine can have pods in user namespaces.
import { mkdirSync, rmdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { inUserNamespace, mount, mountIdMapped, unmountIfMounted } from '@nodelet/linux'
import { isMissing } from './files.ts'

const HOST_ID = 65_536
const line = { containerId: 0, hostId: HOST_ID, length: 65_536 }

/**
 * Tries all that such pods need on the disk of `folder`: a user namespace, id-mapped folders and tmpfs, and an overlay
 * over id-mapped layers. Answers what is in the way; undefined when nothing is.
 */
export async function userNamespaceObstacle(folder: string): Promise<string | undefined> {
  const probe = join(folder, 'probe')
  try {
    remove(probe) // of a former life
    for (const name of places) mkdirSync(join(probe, name), { recursive: true })
    return await inUserNamespace({ uids: [line], gids: [line] }, (userNamespace) => tryMounts(probe, userNamespace))
  } catch (error) {
    return (error as Error).message
  } finally {
    remove(probe)
  }
}

const places = ['lower', 'upper', 'mapped', 'merged', '']

function tryMounts(probe: string, userNamespace: string): string | undefined {
  const [mapped, merged] = [join(probe, 'mapped'), join(probe, 'merged')]
  mountIdMapped({ source: probe, target: mapped, userNamespace, readOnly: true })
  const lower = `lowerdir=${join(mapped, 'upper')}:${join(mapped, 'lower')}`
  mount({ source: 'overlay', target: merged, type: 'overlay', options: [lower, 'ro'] })
  if (statSync(merged).uid !== HOST_ID)
    return 'overlay file systems do not show the ids of layers: Linux 5.19 is needed'
  for (const path of [merged, mapped]) unmountIfMounted(path, { detach: true })
  mount({ source: 'tmpfs', target: merged, type: 'tmpfs', options: ['size=4k'] })
  mountIdMapped({ source: merged, target: mapped, userNamespace })
  return undefined
}

/** Only folders that are empty, so never what is mounted. */
function remove(probe: string): void {
  for (const path of places.map((name) => join(probe, name))) {
    while (unmountIfMounted(path, { detach: true }));
    try {
      rmdirSync(path)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
}

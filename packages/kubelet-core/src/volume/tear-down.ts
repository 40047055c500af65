// Takes away the volumes of a pod, by what is on disk and mounted rather than by what the pod asked for.
import { join } from 'node:path'
import { type CsiVolumes, forceUnmapBlock } from '@nodelet/csi-node'
import { podFolders } from './folders.ts'
import {
  namesIn,
  ownNamesIn,
  removeEmpty,
  removeLink,
  removeMountedVolume,
  removeVolume,
  uncover,
  unmountBelow,
} from './mounts.ts'
import { removeEmptyEntry } from './remove-tree.ts'

/** Whose files this node made, and for this pod alone: they go with it. Those of all others are only unmounted. */
const made = new Set(
  ['empty-dir', 'configmap', 'secret', 'projected', 'downward-api'].map((name) => `kubernetes.io~${name}`),
)

/**
 * Safe to run again. Sub paths go before the volumes that they show. Links and mounts that a container has put in the place of
 * folders go, and are not followed.
 * @param csi takes back what drivers have published; what it does not know is unmounted by force
 * @param forced told of each volume that is
 * @throws Error naming what is still in use
 */
export async function tearDownPod(
  rootDir: string,
  podUid: string,
  csi?: Pick<CsiVolumes, 'tearDown'>,
  forced: (success: boolean) => void = () => {},
): Promise<void> {
  const { pod, own, volumes, devices, subPaths } = podFolders(rootDir, podUid)
  await uncover(pod)
  await unmountBelow(subPaths, own)
  await removeSubPaths(subPaths)
  // Those of a driver that is away wait for it; all others go meanwhile.
  const failed = await csi?.tearDown(podUid).then(
    () => undefined,
    (error: unknown) => ({ error }),
  )
  for (const plugin of await ownNamesIn(volumes)) {
    if (failed && plugin === 'kubernetes.io~csi') continue
    const folder = join(volumes, plugin)
    const remove = made.has(plugin) ? removeVolume : removeMountedVolume
    // What no driver takes back is known to none.
    const tell = plugin === 'kubernetes.io~csi' ? forced : undefined
    await Promise.all((await ownNamesIn(folder)).map(async (name) => told(remove(join(folder, name), own), tell)))
    await removeEmpty(folder)
  }
  if (failed) throw failed.error
  await removeEmpty(volumes)
  for (const plugin of await ownNamesIn(devices)) {
    const folder = join(devices, plugin)
    await removeLink(folder)
    for (const name of await namesIn(folder)) {
      // Those of drivers went with what they are of, save what no driver takes back.
      if (plugin === 'kubernetes.io~csi') await told(forceUnmapBlock(rootDir, podUid, name), forced)
      else await removeLink(join(folder, name))
    }
    await removeEmpty(join(devices, plugin))
  }
  await removeEmpty(devices)
  // What others keep there, such as logs of termination, is theirs to remove.
  if ((await namesIn(pod)).length === 0) await removeEmpty(pod)
}

async function told(work: Promise<void>, tell: ((success: boolean) => void) | undefined): Promise<void> {
  await work.catch((error: unknown) => {
    tell?.(false)
    throw error
  })
  tell?.(true)
}

/** `VOLUME/CONTAINER/INDEX`: the last is an empty file or folder now that nothing is mounted on it. */
async function removeSubPaths(subPaths: string): Promise<void> {
  for (const volume of await ownNamesIn(subPaths)) {
    for (const container of await ownNamesIn(join(subPaths, volume))) {
      const folder = join(subPaths, volume, container)
      for (const index of await ownNamesIn(folder)) await removeEmptyEntry(join(folder, index))
      await removeEmpty(folder)
    }
    await removeEmpty(join(subPaths, volume))
  }
  await removeEmpty(subPaths)
}

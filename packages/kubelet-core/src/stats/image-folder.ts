// Where the runtime keeps its images. It is asked once: for the answer it measures them all.
import { type ImageService, isUnimplemented } from '@nodelet/cri-api'

/** @returns a function that answers the folder; undefined when the runtime does not tell */
export function createImageFolder(
  service: Pick<ImageService, 'imageFsInfo'>,
): (signal: AbortSignal) => Promise<string | undefined> {
  let known: { path: string | undefined } | undefined
  return async (signal) => {
    known ??= { path: await ask(service, signal) }
    return known.path
  }
}

async function ask(service: Pick<ImageService, 'imageFsInfo'>, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { imageFilesystems } = await service.imageFsInfo({}, { signal })
    return imageFilesystems[0]?.fsId?.mountpoint || undefined
  } catch (error) {
    if (isUnimplemented(error)) return undefined
    throw error
  }
}

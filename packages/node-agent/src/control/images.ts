// The image commands, on the store itself: in the agent, or in the command when no agent runs.
import type { Images } from '@nodelet/runtime-runc'
import type { Answer, ImageLine, ImageRequest } from './protocol.ts'

type Store = Pick<Images, 'pull' | 'importArchive' | 'exportArchive' | 'list' | 'remove' | 'resolve' | 'used'>
interface Progress {
  digest: string
  done: number
  total: number
}
type Line = Pick<ReturnType<Images['list']>[number], 'id' | 'repoTags' | 'repoDigests' | 'size'>

const lineOf = ({ id, repoTags, repoDigests, size }: Line): ImageLine => ({
  id,
  tags: repoTags,
  digests: repoDigests,
  size,
})

function present(images: Store, reference: string): ReturnType<Images['list']>[number] {
  const image = images.resolve(reference)
  if (!image) throw new Error(`image "${reference}" is not here: nodelet image ls shows those that are`)
  return image
}

/** Does what was asked; failures are thrown as the store names them. */
export async function* runImageCommand(
  images: Store,
  request: ImageRequest,
  signal: AbortSignal,
): AsyncGenerator<Answer, void, undefined> {
  switch (request.command) {
    case 'list':
      for (const image of images.list()) yield { image: lineOf(image) }
      return
    case 'inspect':
      yield { details: present(images, request.reference) }
      return
    case 'export': {
      const { references, path, format } = request
      for (const reference of references) present(images, reference)
      await images.exportArchive(references, path, { format, signal })
      yield { exported: path }
      return
    }
    case 'remove':
      for (const reference of request.references) present(images, reference)
      for (const reference of request.references) {
        await images.remove(reference)
        yield { removed: reference }
      }
      return
    case 'prune': {
      const used = images.used()
      for (const image of images.list().filter(({ id, pinned }) => !pinned && !used.has(id))) {
        signal.throwIfAborted()
        if (!request.isDryRun) await images.remove(image.id)
        yield { pruned: lineOf(image) }
      }
      return
    }
    case 'import': {
      const { path, reference } = request
      yield* withProgress(async (onProgress) => images.importArchive(path, { reference, signal, onProgress }))
      return
    }
    case 'pull':
      yield* withProgress(async (onProgress) => [await images.pull(request.reference, { signal, onProgress })])
  }
}

/** Progress is told as it comes; of each layer only its newest waits to be read. */
async function* withProgress(
  bring: (onProgress: (progress: Progress) => void) => Promise<Line[]>,
): AsyncGenerator<Answer, void, undefined> {
  const waiting = new Map<string, Progress>()
  let wake = Promise.withResolvers<boolean>()
  const onProgress = (progress: Progress): void => {
    waiting.set(progress.digest, progress)
    wake.resolve(false)
  }
  const work = bring(onProgress)
  const ended = work.then(
    () => true,
    () => true, // thrown below, by the await
  )
  for (let isOver = false; !isOver;) {
    isOver = await Promise.race([ended, wake.promise])
    wake = Promise.withResolvers()
    const news = [...waiting.values()]
    waiting.clear()
    for (const progress of news) yield { progress }
  }
  for (const image of await work) yield { image: lineOf(image) }
}

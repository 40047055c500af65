// Keeps images that were pulled with credentials from pods that do not have them.
import type { Clock } from '../clock.ts'
import { createTurns } from '../serial.ts'
import { needsProof, opens, repositoryOf, type VerificationPolicy, withAccess, withPull } from './rules.ts'
import type { PulledRecord, PullRecords, PullSecret } from './records.ts'

export interface ImageGuard {
  /**
   * Of an image that is there.
   * @param secrets of the pod; asked only when they matter
   * @returns `open`: nobody has to show anything; `proven`; or `closed`: the pod has to pull it itself
   */
  mayUse(
    image: string,
    imageRef: string,
    secrets: () => Promise<readonly PullSecret[]>,
  ): Promise<'open' | 'proven' | 'closed'>
  /** @param pull answers what was pulled, and with which secret; undefined: with the node's credentials, or none */
  pulling(image: string, pull: () => Promise<{ imageRef: string; secret: PullSecret | undefined }>): Promise<string>
  /** Settles pulls that were cut short. @param refOf the image that is there under a name */
  start(refOf: (image: string) => Promise<string | undefined>): Promise<void>
  /** Forgets images that were not there then, unless they have come since. */
  prune(present: ReadonlySet<string>, thenMs: number): Promise<void>
}

export function createImageGuard(records: PullRecords, policy: VerificationPolicy, clock: Clock): ImageGuard {
  /** Pulls under way, by image. */
  const under = new Map<string, number>()
  const turns = createTurns()
  /** One change of the files at a time. */
  const inTurn = async (work: () => Promise<void>): Promise<void> => turns.take(['records'], work)
  const change = async (imageRef: string, image: string, make: (before: PulledRecord | undefined) => PulledRecord) =>
    inTurn(async () => {
      const before = await records.read(imageRef)
      await records.write(make(before === 'damaged' ? undefined : before))
    })
  /** Unless another pull of it has begun meanwhile. */
  const end = async (image: string): Promise<void> =>
    inTurn(async () => {
      if (!under.has(image)) await records.end(image)
    })

  return {
    async mayUse(image, imageRef, secrets) {
      if (policy.policy === 'NeverVerify') return 'open'
      const record = await records.read(imageRef)
      const pulledHere = record !== undefined || under.has(image)
      if (!needsProof(image, pulledHere, policy)) return 'open'
      if (record === undefined || record === 'damaged') return 'closed'
      const access = record.credentialMapping[repositoryOf(image)]
      const own = access?.nodePodsAccessible ? [] : await secrets()
      const after = opens(access, own)
      if (!after) return 'closed'
      if (after !== access) {
        await change(imageRef, image, (before) => {
          const newest = opens(before?.credentialMapping[repositoryOf(image)], own) ?? after
          return withAccess(before, imageRef, image, newest, clock.now())
        })
      }
      return 'proven'
    },
    async pulling(image, pull) {
      under.set(image, (under.get(image) ?? 0) + 1)
      const leave = async (): Promise<void> => {
        const left = (under.get(image) ?? 1) - 1
        if (left > 0) under.set(image, left)
        else under.delete(image)
        await end(image)
      }
      let done: Awaited<ReturnType<typeof pull>>
      try {
        await inTurn(async () => records.begin(image))
        done = await pull()
      } catch (error) {
        await leave()
        throw error
      }
      const { imageRef, secret } = done
      // Should that fail, the intent stays: an image that is there without a record would be everybody's.
      await change(imageRef, image, (before) => {
        const access = withPull(before?.credentialMapping[repositoryOf(image)], secret)
        return withAccess(before, imageRef, image, access, clock.now())
      })
      await leave()
      return imageRef
    },
    async start(refOf) {
      for (const image of await records.begun()) {
        const imageRef = await refOf(image)
        // Somebody's credentials may have been used: whose is not known any more.
        if (imageRef !== undefined && (await records.read(imageRef)) === undefined) {
          await change(imageRef, image, (before) => before ?? withAccess(before, imageRef, image, {}, clock.now()))
        }
        await end(image)
      }
    },
    async prune(present, thenMs) {
      const gone = (await records.list()).filter(({ imageRef }) => !present.has(imageRef))
      for (const { imageRef } of gone) {
        await inTurn(async () => {
          const now = await records.read(imageRef)
          const isOld = now !== undefined && now !== 'damaged' && Date.parse(now.lastUpdatedTime) < thenMs
          if (isOld) await records.remove(imageRef)
        })
      }
    },
  }
}

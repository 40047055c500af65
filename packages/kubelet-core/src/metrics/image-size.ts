// Sizes of images as one of a few labels.

const gib = 1024n ** 3n
const mib = 1024n ** 2n
const bounds: readonly [bytes: bigint, label: string][] = [
  [10n * mib, '0-10MB'],
  [100n * mib, '10MB-100MB'],
  [500n * mib, '100MB-500MB'],
  [1n * gib, '500MB-1GB'],
  [5n * gib, '1GB-5GB'],
  [10n * gib, '5GB-10GB'],
  [20n * gib, '10GB-20GB'],
  [30n * gib, '20GB-30GB'],
  [40n * gib, '30GB-40GB'],
  [60n * gib, '40GB-60GB'],
  [100n * gib, '60GB-100GB'],
]

export function imageSizeLabel(bytes: bigint): string {
  if (bytes === 0n) return 'N/A'
  return bounds.find(([below]) => bytes < below)?.[1] ?? 'GT100GB'
}

export { type PackedImage, type PackOptions, packImage } from "./pack.ts";

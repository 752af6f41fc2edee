import { render } from "preact";
import { App } from "./app";
import { follow } from "./live";
import "./style.css";

render(<App />, document.getElementById("app")!);
follow();
